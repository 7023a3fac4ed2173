package testnet

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for the broker: started as `testnet.test serve …` it is one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// serve is a broker that is ready at once, counts its lives in a file of its data directory, and logs them.
func serve(args []string) int {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	dataDir := fs.String("data-dir", "", "")
	listen := fs.String("listen", "", "")
	httpAddr := fs.String("http", "", "")
	exitCode := fs.Int("exit-code", 0, "status after SIGTERM")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if _, err := net.Listen("tcp", strings.TrimPrefix(*listen, "PLAINTEXT://")); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := os.MkdirAll(*dataDir, 0o755); err != nil {
		fmt.Println(err)
		return 1
	}
	lives := filepath.Join(*dataDir, "lives")
	old, _ := os.ReadFile(lives)
	if err := os.WriteFile(lives, append(old, 'x'), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("life %d env=%q\n", len(old)+1, os.Getenv("MORROW_X"))
	go func() {
		<-stop
		fmt.Println("stopped gracefully")
		os.Exit(*exitCode)
	}()
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	fmt.Println(http.ListenAndServe(*httpAddr, nil))
	return 1
}

func TestRestartKeepsDirectoryAndAddresses(t *testing.T) {
	t.Setenv("MORROW_X", "leaked")
	b := Start(t, os.Args[0])
	addr, httpAddr, pid := b.Addr(), b.HTTP(), b.PID()

	b.Kill9()
	b.Kill9() // again: nothing to do
	b.Restart()

	if b.Addr() != addr || b.HTTP() != httpAddr {
		t.Errorf("addresses changed from %s, %s to %s, %s", addr, httpAddr, b.Addr(), b.HTTP())
	}
	if b.PID() == pid {
		t.Error("Restart did not start a new process")
	}
	const want = "life 1 env=\"\"\nlife 2 env=\"\"\n"
	for end := time.Now().Add(time.Minute); len(b.Logs()) < len(want) && time.Now().Before(end); { // it may still be on its way
		time.Sleep(time.Millisecond)
	}
	if got := b.Logs(); got != want {
		t.Errorf("log of both lives = %q, want %q", got, want)
	}
	if lives, err := os.ReadFile(filepath.Join(b.DataDir(), "lives")); err != nil || len(lives) != 2 {
		t.Errorf("data directory: lives = %q, %v", lives, err)
	}
	b.Stop()
	if !strings.HasSuffix(b.Logs(), "stopped gracefully\n") {
		t.Errorf("after Stop the log is %q", b.Logs())
	}
}

func TestStopReportsBadExit(t *testing.T) {
	var failed errorCounter
	failed.TB = t
	b := Start(t, os.Args[0], "--exit-code", "3")
	b.tb = &failed
	b.Stop()
	b.tb = t
	if failed.errors != 1 {
		t.Errorf("a broker that exits with 3 caused %d errors, want 1", failed.errors)
	}
}

func TestBinaryThatEndsIsAnErrorAtOnce(t *testing.T) {
	b := &Broker{tb: t, bin: os.Args[0], args: []string{"--no-such-flag"}, log: new(logBuffer), addr: "127.0.0.1:1", http: "127.0.0.1:1"}
	err := b.start()
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready: exit status 2") {
		t.Errorf("start = %v", err)
	}
}

func TestLogKeepsTheEnd(t *testing.T) {
	var l logBuffer
	for i := range 5 * maxLog / 1024 {
		fmt.Fprintf(&l, "%1023d\n", i)
	}
	got := l.String()
	if len(got) != maxLog {
		t.Errorf("kept %d bytes, want %d", len(got), maxLog)
	}
	if want := fmt.Sprintf("%1023d\n", 5*maxLog/1024-1); !strings.HasSuffix(got, want) {
		t.Error("the last line is gone")
	}
}

// errorCounter is a TB whose Errorf only counts.
type errorCounter struct {
	testing.TB
	errors int
}

func (c *errorCounter) Errorf(string, ...any) { c.errors++ }

func TestConnectionsOfABrokerThatIsKilledAreReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

// TestRestartWaitsForItsAddress: while the broker is down somebody else has it for a moment.
func TestRestartWaitsForItsAddress(t *testing.T) {
	b := Start(t, os.Args[0])
	b.Kill9()
	l, err := net.Listen("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for !b.inUse() {
			time.Sleep(time.Millisecond)
		}
		l.Close()
	}()
	b.Restart()
	if !strings.Contains(b.Logs(), "address already in use") {
		t.Error("the address was not taken: the test is void")
	}
}
