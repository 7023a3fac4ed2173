package main

import (
	"fmt"
	"io"

	"github.com/morrowmq/morrow/internal/bench"
)

// printReport shows what a load came to, as names and figures.
func printReport(w io.Writer, r bench.Report) {
	fmt.Fprintf(w, "records:\t%d in %.3g s\n", r.Records, r.Seconds)
	fmt.Fprintf(w, "rate:\t%.0f records/s, %.2f MB/s\n", r.RecordsPerSecond, r.BytesPerSecond/1e6)
	printLatency(w, "latency", r.Latency)
	if r.Retries > 0 {
		fmt.Fprintf(w, "retries:\t%d\n", r.Retries)
	}
	printErrors(w, r.Errors, r.LastError)
	printUsage(w, r.Server)
}

// printDelayReport shows what became of records that were due later.
func printDelayReport(w io.Writer, r bench.DelayReport) {
	fmt.Fprintf(w, "inserted:\t%d in %.3g s, %.0f records/s\n", r.Inserted, r.InsertSeconds, r.InsertsPerSecond)
	printLatency(w, "insert latency", r.InsertLatency)
	printErrors(w, r.Failed, r.LastError)
	fmt.Fprintf(w, "delivered:\t%d in %.3g s, %.0f records/s\n", r.Delivered, r.DeliverySeconds, r.DeliveriesPerSecond)
	fmt.Fprintf(w, "lost:\t%d\n", r.Lost)
	fmt.Fprintf(w, "twice:\t%d\n", r.Twice)
	fmt.Fprintf(w, "early:\t%d\n", r.Early)
	fmt.Fprintf(w, "out of order:\t%d\n", r.Disordered)
	printLatency(w, "lateness", r.Lateness)
	fmt.Fprintf(w, "first, last:\t%.3g ms, %.3g ms after their due times\n", r.FirstLate, r.LastLate)
	printUsage(w, r.Server)
}

func printLatency(w io.Writer, name string, l bench.Latency) {
	if l.Count == 0 {
		return
	}
	fmt.Fprintf(w, "%s:\tp50 %.3g ms, p99 %.3g ms, p99.9 %.3g ms, at most %.3g ms\n", name, l.P50, l.P99, l.P999, l.Max)
}

func printErrors(w io.Writer, errors int64, last string) {
	if errors > 0 {
		fmt.Fprintf(w, "failed:\t%d, the last one: %s\n", errors, last)
	}
}

func printUsage(w io.Writer, u *bench.ServerUsage) {
	if u != nil {
		fmt.Fprintf(w, "broker:\t%.3g s of processor time, %.3g per GB, %.3g per million records; %.0f MB of memory\n",
			u.CPUSeconds, u.CPUSecondsPerGB, u.CPUSecondsPerMillionRecords, float64(u.ResidentBytes)/1e6)
	}
}
