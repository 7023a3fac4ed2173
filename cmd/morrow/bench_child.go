package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/morrowmq/morrow/internal/bench"
)

const (
	// childReady bounds the time until a child answers; it may have to recover gigabytes on a slow disk.
	childReady = 2 * time.Minute
	// childStop bounds the time until a child that was asked to stop is gone; then it is killed.
	childStop = 20 * time.Second
)

// child is a broker process started by a benchmark.
type child struct {
	cmd    *exec.Cmd
	addr   string
	log    bytes.Buffer  // read only after exited is closed
	exited chan struct{} // closed when it is gone
	err    error         // of Wait; read only after exited is closed
}

var _ bench.Instance = (*child)(nil)

// startChild starts a broker on free loopback ports and waits until it is ready. The end of ctx stops it.
func startChild(ctx context.Context, bin, dataDir string, configs map[string]string) (*child, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c := &child{addr: addr, exited: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, bin, "serve", "--data-dir", dataDir, "--listen", "PLAINTEXT://"+addr, "--http", admin, "--log-level", "warn")
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = childStop
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, envPrefix) {
			c.cmd.Env = append(c.cmd.Env, e)
		}
	}
	for k, v := range configs {
		c.cmd.Env = append(c.cmd.Env, envName(k)+"="+v)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	if err := c.awaitReady(ctx, "http://"+admin+"/readyz"); err != nil {
		return nil, errors.Join(err, c.Kill())
	}
	return c, nil
}

func (c *child) awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, childReady)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if answersOK(ctx, url) {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("the broker ended before it was ready: %w: %s", c.err, strings.TrimSpace(c.log.String()))
		case <-ctx.Done():
			return fmt.Errorf("the broker was not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func answersOK(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (c *child) Addr() string { return c.addr }
func (c *child) PID() int     { return c.cmd.Process.Pid }

func (c *child) Kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.exited
	return nil
}

// Stop fails if the broker does not end well.
func (c *child) Stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.exited:
	case <-time.After(childStop):
		return errors.Join(fmt.Errorf("the broker did not stop within %v", childStop), c.Kill())
	}
	if !c.cmd.ProcessState.Success() { // c.err may be no more than the end of startChild's ctx
		return fmt.Errorf("the broker ended with %w: %s", c.err, strings.TrimSpace(c.log.String()))
	}
	return nil
}

// freeAddr returns an address nobody listens on at this moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
