package bench

import (
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestUsageOfAProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("no /proc")
		return
	}
	u, err := Process(os.Getpid()).Usage(t.Context())
	if err != nil || u.ResidentBytes < 1<<20 {
		t.Errorf("usage is %+v, %v", u, err)
	}
	if _, err := Process(1 << 30).Usage(t.Context()); err == nil {
		t.Error("a process that does not exist has a usage")
	}
}

func TestUsageFromMetrics(t *testing.T) {
	const text = `# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
process_resident_memory_bytes 2.048e+06
`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
	defer s.Close()
	u, err := Metrics(s.URL).Usage(t.Context())
	if want := (Usage{CPUSeconds: 12.5, ResidentBytes: 2048000}); err != nil || u != want {
		t.Errorf("usage is %+v, %v", u, err)
	}
	for _, bad := range []string{"", "process_cpu_seconds_total 1\n", "process_cpu_seconds_total x\n"} {
		if _, err := parseUsage(strings.NewReader(bad)); err == nil {
			t.Errorf("%q has a usage", bad)
		}
	}
}
