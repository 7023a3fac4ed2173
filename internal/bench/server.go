package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// Server tells what the process under test has used.
type Server interface {
	Usage(ctx context.Context) (Usage, error)
}

// Usage is a process's consumption since it started, and its memory now.
type Usage struct {
	CPUSeconds    float64
	ResidentBytes int64
}

// Process is a Server on this machine, by process id (Linux). Its processor time counts in ticks of 10 ms.
type Process int

var _ Server = Process(0)

// Usage reads /proc.
func (p Process) Usage(context.Context) (Usage, error) {
	proc, err := procfs.NewProc(int(p))
	if err != nil {
		return Usage{}, fmt.Errorf("find process %d: %w", int(p), err)
	}
	return usageOf(proc)
}

// self is what this process has used; zero where there is no /proc.
func self() Usage {
	proc, err := procfs.Self()
	if err != nil {
		return Usage{}
	}
	u, err := usageOf(proc)
	if err != nil {
		return Usage{}
	}
	return u
}

func usageOf(proc procfs.Proc) (Usage, error) {
	st, err := proc.Stat()
	if err != nil {
		return Usage{}, fmt.Errorf("read usage of process %d: %w", proc.PID, err)
	}
	return Usage{CPUSeconds: st.CPUTime(), ResidentBytes: int64(st.ResidentMemory())}, nil
}

// Metrics is a Server that serves Prometheus metrics: the URL of them. It needs the process_ metrics that every
// Prometheus client library for servers exports.
type Metrics string

var _ Server = Metrics("")

// Usage scrapes once.
func (m Metrics) Usage(ctx context.Context) (Usage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(m), http.NoBody)
	if err != nil {
		return Usage{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Usage{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Usage{}, fmt.Errorf("%s answered %s", string(m), resp.Status)
	}
	u, err := parseUsage(resp.Body)
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w", string(m), err)
	}
	return u, nil
}

func parseUsage(text io.Reader) (Usage, error) {
	const cpu, resident = "process_cpu_seconds_total", "process_resident_memory_bytes"
	values := map[string]float64{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != cpu && name != resident {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("metric %s: %w", name, err)
		}
		values[name] = v
	}
	if err := lines.Err(); err != nil {
		return Usage{}, err
	}
	for _, name := range []string{cpu, resident} {
		if _, ok := values[name]; !ok {
			return Usage{}, fmt.Errorf("no metric %s", name)
		}
	}
	return Usage{CPUSeconds: values[cpu], ResidentBytes: int64(values[resident])}, nil
}
