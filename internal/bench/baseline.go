package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
)

// Baseline is what one machine does bare.
type Baseline struct {
	CPUs int `json:"cpus"`
	// Congestion is the congestion control that the system gives to connections.
	Congestion string    `json:"system_congestion"`
	Rows       []BareRow `json:"rows"`
}

// BareRow is the result of one Probe.
type BareRow struct {
	Name string `json:"name"`
	Bare
}

// Probe measures one thing for about d, with files in dir.
type Probe struct {
	Name string
	Run  func(dir string, d time.Duration) (Bare, error)
}

// Probes are the limits a broker on this machine is compared with. Those of the network are
// repeated for cubic and bbr where the system has them, since their speeds on loopback differ by
// more than a factor of two.
func Probes() []Probe {
	probes := []Probe{
		{"append 4 KiB + fdatasync", func(dir string, d time.Duration) (Bare, error) { return AppendSync(dir, 4<<10, d) }},
		{"append 1 MiB + fdatasync", func(dir string, d time.Duration) (Bare, error) { return AppendSync(dir, 1<<20, d) }},
		{"crc32c", func(_ string, d time.Duration) (Bare, error) { return CRC32C(d), nil }},
	}
	for _, congestion := range Congestions() {
		for _, size := range []int{1 << 20, 64 << 10, 16 << 10} {
			for _, sync := range []bool{false, true} {
				probes = append(probes, IdealProduce{RequestBytes: size, InFlight: 5, Sync: sync, Congestion: congestion}.probe())
			}
		}
		for _, size := range []int{8 << 20, 1 << 20, 64 << 10} {
			probes = append(probes, IdealFetch{AnswerBytes: size, Congestion: congestion}.probe())
		}
	}
	return probes
}

func (p IdealProduce) probe() Probe {
	name := fmt.Sprintf("ideal produce %d KiB × %d", p.RequestBytes>>10, p.InFlight)
	if p.Sync {
		name += ", fdatasync"
	}
	return Probe{withCongestion(name, p.Congestion), p.Run}
}

func (f IdealFetch) probe() Probe {
	const fileBytes = 256 << 20
	return Probe{withCongestion(fmt.Sprintf("ideal fetch %d KiB", f.AnswerBytes>>10), f.Congestion), func(dir string, d time.Duration) (Bare, error) {
		return f.Run(dir, fileBytes, d)
	}}
}

func withCongestion(name, congestion string) string {
	if congestion == "" {
		return name
	}
	return name + ", " + congestion
}

// MeasureBaseline runs probes one after the other, each for d and after warmBytes for the page
// cache. began is told before each, and may be nil.
func MeasureBaseline(ctx context.Context, dir string, probes []Probe, d time.Duration, warmBytes int64, began func(name string)) (Baseline, error) {
	b := Baseline{CPUs: runtime.NumCPU(), Congestion: systemCongestion()}
	for _, p := range probes {
		if err := ctx.Err(); err != nil {
			return b, err
		}
		if began != nil {
			began(p.Name)
		}
		if err := errors.Join(settle(dir), WarmPageCache(dir, warmBytes)); err != nil {
			return b, err
		}
		bare, err := p.Run(dir, d)
		if err != nil {
			return b, fmt.Errorf("%s: %w", p.Name, err)
		}
		b.Rows = append(b.Rows, BareRow{p.Name, bare})
	}
	return b, nil
}

// Congestions returns which of cubic and bbr can be used here, or "" alone if neither can be chosen.
func Congestions() []string {
	var usable []string
	for _, name := range []string{"cubic", "bbr"} {
		client, server, err := loopback(name)
		if err != nil {
			continue
		}
		usable = append(usable, name)
		closeAll(client, server)
	}
	if usable == nil {
		return []string{""}
	}
	return usable
}

func systemCongestion() string {
	client, server, err := loopback("")
	if err != nil {
		return ""
	}
	defer closeAll(client, server)
	return congestion(client)
}

func closeAll(conns ...net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}
