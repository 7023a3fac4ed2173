package local_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/morrowmq/morrow/cluster/local"
)

// crashDir, set in the environment, makes the test binary a writer to be killed.
const crashDir = "MORROW_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir, os.Getenv(crashDir+"_ROUND"))
	}
	os.Exit(m.Run())
}

// writeUntilKilled creates topics from two goroutines and prints the name of
// each that was acknowledged.
func writeUntilKilled(dir, round string) {
	s, err := local.Open(local.Options{Dir: dir, Node: 1})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if _, err := s.Apply(context.Background(), register()); err != nil {
		fmt.Println("error", err)
	}
	var wg sync.WaitGroup
	for w := range crashWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("r%s-w%d-%d", round, w, i)
				_, err := s.Apply(context.Background(), create(name))
				first, err2 := s.ProducerIDs(context.Background(), 1)
				if err != nil || err2 != nil {
					fmt.Println("error", err, err2)
					os.Exit(1)
				}
				fmt.Println(name, first)
			}
		})
	}
	wg.Wait()
}

const crashWriters = 2

func TestAcknowledgedCommandsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	acknowledged := map[string]bool{}
	lastID := int64(-1)
	for round := range 8 {
		lines := killWriter(t, dir, round, 1+random.IntN(40))
		for _, line := range lines {
			var name string
			var id int64
			if _, err := fmt.Sscanf(line, "%s %d", &name, &id); err != nil || strings.HasPrefix(line, "error") {
				t.Fatalf("seed %d: the writer says %q", seed, line)
			}
			acknowledged[name] = true
			lastID = max(lastID, id)
		}
		s := open(t, dir)
		img := s.Image()
		for name := range acknowledged {
			if topic, ok := img.Topic(name); !ok || len(topic.Partitions) != 2 {
				t.Fatalf("seed %d, round %d: %s was acknowledged and is lost", seed, round, name)
			}
		}
		if extra := img.TopicCount()/2 - len(acknowledged); extra > crashWriters*(round+1) {
			t.Errorf("seed %d, round %d: %d topics nobody was told of", seed, round, extra)
		}
		first, err := s.ProducerIDs(t.Context(), 1)
		if err != nil || first <= lastID {
			t.Fatalf("seed %d, round %d: producer id %d after %d was handed out: %v", seed, round, first, lastID, err)
		}
		s.Close()
	}
}

// killWriter starts a writer, kills it after some acknowledgements and returns
// all it has printed.
func killWriter(t *testing.T, dir string, round, after int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s_ROUND=%d", crashDir, round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		lines = append(lines, scan.Text())
		if len(lines) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	// The line that was being printed is not an acknowledgement.
	if n := len(lines); n > 0 && len(strings.Fields(lines[n-1])) != 2 {
		lines = lines[:n-1]
	}
	return lines
}
