package record

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// benchBatch has as many records of about valueLen bytes as fit into 1 MB.
func benchBatch(b *testing.B, codec Codec, valueLen int, headers ...Header) Batch {
	b.Helper()
	const batchLen = 1e6
	// Half random, half repeated: compresses to about a half.
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<16)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	value := make([]byte, valueLen)
	var w Builder
	w.Reset(Attributes(codec), 1_700_000_000_000)
	for i := int32(0); w.Len() < batchLen-valueLen-50; i++ {
		copy(value[:valueLen/2], noise[rnd.IntN(len(noise)-valueLen):])
		w.Add(i, 1_700_000_000_000+int64(i/100), nil, value, headers...)
	}
	batch, err := w.Finish()
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// report adds the rate in records.
func report(b *testing.B, batch Batch) {
	b.SetBytes(int64(len(batch)))
	b.ReportMetric(float64(batch.Count())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

func BenchmarkWalk(b *testing.B) {
	for _, valueLen := range []int{10, 100, 1000} {
		for _, hs := range [][]Header{nil, {{Key: "trace-id", Value: []byte("0123456789abcdef")}}} {
			b.Run(fmt.Sprintf("value=%d/headers=%d", valueLen, len(hs)), func(b *testing.B) {
				batch := benchBatch(b, None, valueLen, hs...)
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					_ = batch.Walk(nil, func(v *View) error {
						for k := range v.Headers {
							if string(k) == "morrow-delay" {
								n++
							}
						}
						return nil
					})
				}
				report(b, batch)
			})
		}
	}
}

func BenchmarkCRC(b *testing.B) {
	batch := benchBatch(b, None, 1000)
	for b.Loop() {
		_ = batch.CheckCRC()
	}
	b.SetBytes(int64(len(batch)))
}

// BenchmarkStamp shows that the time does not grow with the batch.
func BenchmarkStamp(b *testing.B) {
	for _, valueLen := range []int{0, 1000} {
		b.Run(fmt.Sprintf("value=%d", valueLen), func(b *testing.B) {
			batch, n := benchBatch(b, None, valueLen), int64(0)
			for b.Loop() {
				n++
				batch.Stamp(Hidden|LogAppendTime, n)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, codec := range codecs {
		for _, valueLen := range []int{100, 1024} {
			b.Run(fmt.Sprintf("%s/value=%d", codec, valueLen), func(b *testing.B) {
				batch := benchBatch(b, codec, valueLen)
				o := CheckOptions{Now: 1_700_000_000_000, BeforeMax: math.MaxInt64, AfterMax: 3_600_000}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Check(batch, o, nil, nil); err != nil {
						b.Fatal(err)
					}
				}
				report(b, batch)
			})
		}
	}
}

func BenchmarkRecompress(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := benchBatch(b, None, 1024)
			var w Builder
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Recompress(batch, codec, nil); err != nil {
					b.Fatal(err)
				}
			}
			report(b, batch)
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	value := make([]byte, 100)
	var w Builder
	b.ReportAllocs()
	var batch Batch
	for b.Loop() {
		w.Reset(0, 1000)
		for i := range int32(9000) {
			w.Add(i, 1000, nil, value)
		}
		batch, _ = w.Finish()
	}
	report(b, batch)
}

func BenchmarkSplit(b *testing.B) {
	batch := benchBatch(b, None, 100)
	var w Builder
	b.ReportAllocs()
	for b.Loop() {
		w.ResetLike(batch)
		_ = batch.Walk(nil, func(v *View) error {
			if v.Index >= 1000 {
				w.AddView(v)
			}
			return nil
		})
		if _, err := w.Finish(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, batch)
}
