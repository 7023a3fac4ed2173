package main

import (
	"bytes"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands calls f for every command there is, but those of cobra.
func commands(f func(cmd *cobra.Command)) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		f(cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot(new(bytes.Buffer), new(bytes.Buffer)))
}

func TestEveryCommandExplainsItself(t *testing.T) {
	commands(func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 96 {
				t.Errorf("%s: long line in its help: %s", cmd.CommandPath(), line)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example is not indented: %s", cmd.CommandPath(), line)
			}
		}
	})
}

// TestOddInputIsRefused runs every command with arguments that make no sense, against a port where
// nothing listens.
func TestOddInputIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := l.Addr().String()
	l.Close()
	t.Setenv(bootstrapEnv, nowhere)
	t.Chdir(t.TempDir())
	odd := []string{"", "--", "-", "\x00", "a=b", "=", "topic", "broker", "--nope", "--to=1", "🙂"}
	commands(func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		if cmd.Name() == "serve" || cmd.HasSubCommands() || path[0] == "bench" || path[0] == "schedule" || path[0] == "tier" {
			return // they do not ask Kafka's listener
		}
		for _, a := range odd {
			for _, b := range odd {
				code, _, stderr := execute(t, append(path, a, b)...)
				if ok := code == 0 && stderr == ""; !ok && (code != 1 || stderr != "" && !strings.HasPrefix(stderr, "morrow: ")) {
					t.Errorf("morrow %s %q %q: exit code %d: %s", strings.Join(path, " "), a, b, code, stderr)
				}
			}
		}
	})
}

func TestUnknownCommands(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"tpic", `morrow: unknown command "tpic" for "morrow": did you mean topic?`},
		{"frobnicate", `morrow: unknown command "frobnicate" for "morrow": see morrow --help`},
		{"help tpic", `morrow: unknown command "tpic" for "morrow": did you mean topic?`},
		{"help topic frobnicate", `morrow: unknown command "frobnicate" for "morrow topic": see morrow topic --help`},
		{"help version x", `morrow: unknown command "x" for "morrow version": see morrow version --help`},
		{"topic descrbe x", `morrow: unknown command "descrbe" for "morrow topic": did you mean describe?`},
		{"topic list --outptu json", `morrow: unknown flag: --outptu: see morrow topic list --help`},
		{"schedule list orders -b 127.0.0.1:9092", `morrow: unknown shorthand flag: 'b' in -b (this command asks the HTTP address: --http): see morrow schedule list --help`},
		{"tier status --bootstrap 127.0.0.1:9092", `morrow: unknown flag: --bootstrap (this command asks the HTTP address: --http): see morrow tier status --help`},
		{"topic list --http 127.0.0.1:9644", `morrow: unknown flag: --http (this command asks Kafka's listener: --bootstrap): see morrow topic list --help`},
		{"topic trim orders --before 3", `morrow: --partition missing; usage: morrow topic trim TOPIC --partition N --before OFFSET`},
		{"schedule move orders 0 7", `morrow: --due or --delay missing; usage: morrow schedule move TOPIC PARTITION TICKET --due TIME | --delay DURATION`},
		{"schedule move orders 0 7 --due 1 --delay 1s", `morrow: --due and --delay exclude each other; usage: morrow schedule move TOPIC PARTITION TICKET --due TIME | --delay DURATION`},
		{"tier sweep --log --delete", `morrow: --log and --delete exclude each other; usage: morrow tier sweep`},
		{"topic list -b", `morrow: invalid value "" for --bootstrap: must be host:port, or several with commas between`},
		{"tier ls --url file:///nowhere/at/all", `morrow: there is no directory /nowhere/at/all`},
		{"topic describe", `morrow: argument missing; usage: morrow topic describe TOPIC...`},
		{"group list -o yaml", `morrow: invalid value "yaml" for --output: must be text or json`},
		{"topic create x -p many", `morrow: invalid argument "many" for "-p, --partitions" flag: must be a whole number: see morrow topic create --help`},
		{"topic create x -p 9999999999", `morrow: invalid argument "9999999999" for "-p, --partitions" flag: is out of range: see morrow topic create --help`},
		{"log salvage --data-dir /nowhere/at/all", `morrow: there is no data directory of a broker in /nowhere/at/all`},
		{"bench suite --only nothing", `morrow: no step has "nothing" in its name`},
		{"group list --timeout 0s", `morrow: invalid value "0s" for --timeout: must be a duration above zero, such as 5s`},
	} {
		args := strings.Fields(test.args)
		if strings.HasSuffix(test.args, " -b") {
			args = append(args, "")
		}
		code, stdout, stderr := execute(t, args...)
		if code != 1 || stderr != test.want+"\n" || stdout != "" {
			t.Errorf("morrow %s: exit code %d: %s%s\nwant %s", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestVersionIsOneLineHoweverItIsAskedFor(t *testing.T) {
	_, want, _ := execute(t, "version")
	if !strings.HasPrefix(want, "morrow ") || strings.Count(want, "\n") != 1 || !strings.HasSuffix(want, runtime.GOOS+"/"+runtime.GOARCH+"\n") {
		t.Errorf("morrow version: %q", want)
	}
	for _, flag := range []string{"--version", "-v"} {
		if code, stdout, stderr := execute(t, flag); code != 0 || stdout != want || stderr != "" {
			t.Errorf("morrow %s: exit code %d: %s%s, want %s", flag, code, stdout, stderr, want)
		}
	}
	v := versionInfo{Version: "v1.2.3", Revision: "0123456789abcdef", Modified: true, Go: "go1.26", Platform: "linux/amd64"}
	if got := v.String(); got != "morrow v1.2.3 0123456789ab modified go1.26 linux/amd64" {
		t.Error(got)
	}
}

func TestTimesAreShownInUTC(t *testing.T) {
	for ms, want := range map[int64]string{
		0:               "-",
		-1:              "-",
		1:               "1970-01-01T00:00:00.001Z",
		1795195980123:   "2026-11-20T17:33:00.123Z",
		253402300800000: "253402300800000",
	} {
		if got := timestamp(ms); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}

func TestFamiliesShowTheirHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"topic"}, {"group"}, {"config"}, {"log"}, {"schedule"}, {"tier"}, {"bench"}} {
		if code, stdout, stderr := execute(t, args...); code != 0 || !strings.Contains(stdout, "Available Commands:") || stderr != "" {
			t.Errorf("morrow %v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
}

func TestBrokersThatAreNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}
	}()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, test := range []struct{ addr, timeout, want string }{
		{l.Addr().String(), "1m", "morrow: " + l.Addr().String() + " does not speak Kafka's protocol, or wants TLS\n"},
		{silent.Addr().String(), "200ms", "morrow: no answer from " + silent.Addr().String() + " within 200ms\n"},
	} {
		if code, _, stderr := execute(t, "topic", "list", "-b", test.addr, "--timeout", test.timeout); code != 1 || stderr != test.want {
			t.Errorf("exit code %d: %s, want %s", code, stderr, test.want)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := execute(t, "completion", shell); code != 0 || len(stdout) < 1000 || stderr != "" {
			t.Errorf("completion for %s: exit code %d: %s", shell, code, stderr)
		}
	}
	b := startBroker(t)
	b.morrow(t, "topic", "create", "orders", "others", "payments")
	b.morrow(t, "group", "reset", "billing", "--topic", "orders", "--to", "latest")
	for _, test := range []struct{ args, want string }{
		{"topic describe o", "orders others"},
		{"topic describe orders o", "others"},
		{"topic create o", ""},
		{"topic trim orders o", ""},
		{"group describe b", "billing"},
		{"group reset billing --topic p", "payments"},
		{"group reset billing --to e", "earliest"},
		{"config get ", "topic group broker"},
		{"config get topic p", "payments"},
		{"config get topic payments retention.", "retention.bytes retention.ms"},
		{"config set topic payments retention.ms=1 retention.", "retention.bytes="},
		{"config set broker log.retention.h", "log.retention.hours="},
		{"config get broker 1 log.retention.h", "log.retention.hours"},
		{"config get group b", "billing"},
		{"config docs consumer.h", "consumer.heartbeat.interval.ms"},
		{"serve --log-level d", "debug"},
		{"serve --set log.retention.h", "log.retention.hours="},
		{"topic list -o j", "json"},
	} {
		args := strings.Split(test.args, " ")
		_, stdout, _ := b.try(t, append([]string{"__complete"}, args...)...)
		var got []string
		for line := range strings.Lines(stdout) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if strings.HasPrefix(word, ":") {
				break // what the shell is to do with them
			}
			if strings.HasPrefix(word, args[len(args)-1]) {
				got = append(got, word)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", test.args, got, test.want)
		}
	}
	t.Setenv(bootstrapEnv, "127.0.0.1:1")
	if code, stdout, stderr := execute(t, "__complete", "topic", "describe", ""); code != 0 || !strings.HasPrefix(stdout, ":") {
		t.Errorf("without a broker: exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := execute(t, "version"); code != 0 || !strings.HasPrefix(stdout, "morrow ") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	for _, field := range []string{`"version"`, `"go"`, `"platform"`} {
		if code, stdout, _ := execute(t, "version", "-o", "json"); code != 0 || !strings.Contains(stdout, field) {
			t.Errorf("exit code %d: no %s in %s", code, field, stdout)
		}
	}
}
