package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

const (
	// checkTimeout bounds a check, every step of which waits for a condition.
	checkTimeout = 90 * time.Second

	// graceTime is what a client may take to notice that its context is done. One that takes longer
	// is left behind.
	graceTime = 5 * time.Second

	maxDetail = 500
)

// Main runs every check with the client that open returns, prints one JSON line for each, and
// exits. module is the import path of the client's module, whose version is reported.
func Main(name, module string, open func(bootstrap string) (Client, error)) {
	bootstrap, prefix := os.Getenv("COMPAT_BOOTSTRAP"), os.Getenv("COMPAT_PREFIX")
	if bootstrap == "" || prefix == "" {
		fmt.Fprintln(os.Stderr, "COMPAT_BOOTSTRAP and COMPAT_PREFIX must be set")
		os.Exit(2)
	}
	client, err := open(bootstrap)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(map[string]string{"client": name, "version": version(module)})
	for _, s := range scenarios() {
		e := &env{
			client:    client,
			bootstrap: bootstrap,
			topic:     prefix + "." + strings.NewReplacer("/", "-", "=", "-").Replace(s.name),
		}
		result, detail := outcome(runWithin(e, s.run))
		_ = out.Encode(map[string]string{"check": s.name, "result": result, "detail": detail})
	}
}

// version is the version of a module this binary was built with.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return strings.TrimPrefix(dep.Version, "v")
		}
	}
	return "unknown"
}

func outcome(err error) (result, detail string) {
	switch {
	case err == nil:
		return "pass", ""
	case errors.Is(err, ErrUnsupported):
		return "unsupported", ""
	default:
		detail = err.Error()
		return "fail", detail[:min(len(detail), maxDetail)]
	}
}

// runWithin runs one check with a deadline.
func runWithin(e *env, run func(*env)) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	e.ctx = ctx
	done := make(chan error, 1)
	go func() { done <- runToEnd(e, run) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(graceTime):
		return errors.New("hangs, also when its context is done")
	}
}

// runToEnd runs one check, closes what it opened, and turns the panic of env.fail into an error.
func runToEnd(e *env, run func(*env)) (err error) {
	defer func() {
		for _, c := range e.closers {
			c()
		}
	}()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.err
		default:
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	run(e)
	return nil
}

// failure is what a check panics with to end.
type failure struct{ err error }

// env is what a running check has: its client, its deadline, and a topic name of its own, which
// also serves as the name of its group. Every method that is not given a way to fail ends the check
// when it fails.
type env struct {
	client    Client
	ctx       context.Context
	bootstrap string
	topic     string
	closers   []func()
}

func (e *env) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// ok ends the check if err is an error.
func (e *env) ok(err error, doing string) {
	if err != nil {
		e.fail("%s: %w", doing, err)
	}
}

// equal ends the check if got and want do not print alike.
func (e *env) equal(what string, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		e.fail("%s: got %.200s, want %.200s", what, g, w)
	}
}

// await polls until the condition holds.
func (e *env) await(what string, condition func() bool) {
	e.awaitNone(func() string {
		if condition() {
			return ""
		}
		return what
	})
}

// awaitNone polls until missing has nothing to name any more.
func (e *env) awaitNone(missing func() string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		what := missing()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			e.fail("waited in vain until %s", what)
		}
	}
}
