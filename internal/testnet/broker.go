// Package testnet runs the real broker binary on loopback for tests that need a process: kill it,
// restart it on what it left behind, read what it logged.
//
// It knows nothing of the broker but its command line (serve, --data-dir, --listen, --http) and GET
// /readyz. A Broker has two goroutines while its process lives: one that waits for the process,
// pinned to an OS thread so that the kernel kills the broker when the test binary dies, and the
// copier of os/exec that feeds its log. Its methods may be called from any goroutine, but not Stop,
// Kill9 and Restart at the same time.
package testnet

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// readyTimeout bounds the time from exec to a 200 from /readyz. It is generous because a start
	// may replay a log, and because tests share two cores with whatever else runs.
	readyTimeout = 3 * time.Minute

	// stopTimeout bounds a graceful shutdown, after which the broker is killed and the test failed.
	stopTimeout = 90 * time.Second

	// startAttempts is how many pairs of ports Start tries, and how often Restart tries its own.
	// Between choosing a free port and the broker's bind another process may take it, and while the
	// broker is down an outgoing connection, where such have ports as low.
	startAttempts = 5
)

// Broker is one broker process and the directory and addresses it keeps from one life to the next.
type Broker struct {
	tb   testing.TB
	bin  string
	args []string

	dataDir string
	addr    string // of the Kafka listener
	http    string // of the HTTP listener
	log     *logBuffer

	proc *process // the current or last life
}

// Start runs `bin serve` with a new data directory and free loopback ports and returns once it is
// ready. args are appended to the command line, so they may override what Start chose, except the
// addresses. The broker is stopped when the test ends, and its log becomes part of the test's
// output if the test failed.
//
// Start fails the test if the broker does not become ready.
func Start(tb testing.TB, bin string, args ...string) *Broker {
	tb.Helper()
	abs, err := filepath.Abs(bin)
	if err != nil {
		tb.Fatalf("testnet: %v", err)
	}
	b := &Broker{tb: tb, bin: abs, args: args, dataDir: filepath.Join(tb.TempDir(), "data"), log: new(logBuffer)}
	tb.Cleanup(b.cleanup)
	for attempt := 1; ; attempt++ {
		b.addr, b.http = freeAddr(tb), freeAddr(tb)
		err := b.start()
		if err == nil {
			return b
		}
		if attempt == startAttempts || !b.inUse() {
			tb.Fatalf("testnet: %v", err)
		}
	}
}

// inUse reports whether the life that has just ended found one of its addresses taken.
func (b *Broker) inUse() bool {
	said := b.log.String()
	return strings.Contains(said[max(0, len(said)-1024):], "address already in use")
}

// Addr is the host:port of the Kafka listener. It stays the same across Restart.
func (b *Broker) Addr() string { return b.addr }

// HTTP is the host:port of the HTTP listener. It stays the same across Restart.
func (b *Broker) HTTP() string { return b.http }

// DataDir is the broker's data directory. A test may read or damage it while the broker is down.
func (b *Broker) DataDir() string { return b.dataDir }

// PID is the process id of the current life, or of the last one if the broker is down.
func (b *Broker) PID() int { return b.proc.cmd.Process.Pid }

// Logs returns what the broker has written to standard output and standard error in all its lives,
// oldest first, cut at the front to the last megabyte.
func (b *Broker) Logs() string { return b.log.String() }

// Kill9 ends the process with SIGKILL and returns when it is gone. It does nothing if the broker is down.
func (b *Broker) Kill9() {
	_ = b.proc.cmd.Process.Kill()
	<-b.proc.exited
}

// Stop ends the process with SIGTERM and returns when it is gone. It fails the test if the broker
// takes too long or exits with another status than 0. It does nothing if the broker is down.
func (b *Broker) Stop() {
	b.tb.Helper()
	if b.proc.gone() {
		return
	}
	_ = b.proc.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.proc.exited:
		if b.proc.err != nil {
			b.tb.Errorf("testnet: broker stopped with %v", b.proc.err)
		}
	case <-time.After(stopTimeout):
		b.Kill9()
		b.tb.Errorf("testnet: broker did not stop within %v of SIGTERM", stopTimeout)
	}
}

// Restart starts the broker again on the same directory and addresses and returns once it is ready;
// a broker that is still up is stopped first. args are appended to the command line of this life
// only. Restart fails the test if the broker does not become ready.
func (b *Broker) Restart(args ...string) {
	b.tb.Helper()
	b.Stop()
	for attempt := 1; ; attempt++ {
		err := b.start(args...)
		if err == nil {
			return
		}
		if attempt == startAttempts || !b.inUse() {
			b.tb.Fatalf("testnet: restart: %v", err)
		}
		time.Sleep(time.Second)
	}
}

// start runs one life of the broker and waits until it is ready. On an error the process is gone.
func (b *Broker) start(extra ...string) error {
	args := append([]string{
		"serve", "--data-dir", b.dataDir, "--listen", "PLAINTEXT://" + b.addr, "--http", b.http,
	}, b.args...)
	proc, err := startProcess(b.bin, append(args, extra...), b.log)
	if err != nil {
		return err
	}
	b.proc = proc
	if err := b.awaitReady(); err != nil {
		b.Kill9()
		return err
	}
	return nil
}

// awaitReady polls /readyz until it answers 200, the process ends, or readyTimeout has passed.
func (b *Broker) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, b.http) {
			return nil
		}
		select {
		case <-b.proc.exited:
			return fmt.Errorf("%s ended before it was ready: %v", b.bin, b.proc.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s not ready within %v", b.bin, readyTimeout)
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return false
	}
	req.Close = true // a kept-alive connection would outlive the broker and the leak check of its test
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// cleanup stops the broker at the end of its test and shows its log if the test failed.
func (b *Broker) cleanup() {
	if b.proc != nil {
		b.Stop()
	}
	if b.tb.Failed() {
		b.tb.Logf("log of the broker:\n%s", b.log.String())
	}
}

// process is one life of the broker.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone and its output has been read
	err    error         // of Wait; read only after exited is closed
}

// startProcess runs bin with its output appended to log.
//
// The kernel sends Pdeathsig when the thread that forked ends, not when the process does, so the
// goroutine that starts the process keeps its thread until the process is gone.
func startProcess(bin string, args []string, log *logBuffer) (*process, error) {
	p := &process{cmd: exec.Command(bin, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = environ()
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	return p, nil
}

// environ is the test's environment without MORROW_… variables, which would configure the broker.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "MORROW_") })
}

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
