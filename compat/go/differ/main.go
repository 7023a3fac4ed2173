// Differ holds a broker against Apache Kafka: it starts a Kafka, sends the same scripted requests
// to both, and compares what they answer, field by field. It prints one JSON line for each script,
// as the suites of compat do: a script passes if every difference in it stands on the list of those
// that are meant, with its reason.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxDetail is how much of a script's differences is reported, in bytes.
const maxDetail = 6000

func main() {
	classpath := flag.String("classpath", "", "`file` with the class path of Kafka")
	version := flag.String("version", "", "`version` of Kafka, to report")
	meant := flag.String("differences", "", "`file` of the differences that are meant")
	kafka := flag.String("kafka", "", "`host:port` of a Kafka that runs already")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, options{*classpath, *version, *meant, *kafka})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options of the command line.
type options struct {
	classpath, version, meant, kafka string
}

func run(ctx context.Context, stdout io.Writer, o options) (err error) {
	list, err := readMeant(o.meant)
	if err != nil {
		return err
	}
	kafka := o.kafka
	if kafka == "" {
		broker, err := startKafka(ctx, o.classpath)
		if err != nil {
			return err
		}
		defer broker.stop()
		kafka = broker.addr
	}
	pair, err := open(ctx, os.Getenv("COMPAT_BOOTSTRAP"), kafka)
	if err != nil {
		return err
	}
	defer pair.close()
	out := json.NewEncoder(stdout)
	if err := out.Encode(map[string]string{"client": "Apache Kafka", "version": o.version}); err != nil {
		return err
	}
	asked := strings.Fields(os.Getenv("COMPAT_TESTS"))
	for _, s := range scripts {
		if !slices.Contains(asked, s.name) {
			continue
		}
		began := time.Now()
		line := map[string]string{"check": s.name, "result": "pass"}
		if wrong := list.judge(s.name, pair.play(ctx, s)); len(wrong) > 0 {
			line["result"], line["detail"] = "fail", cut(strings.Join(wrong, "\n"))
		}
		if verbose {
			fmt.Fprintln(os.Stderr, s.name, time.Since(began).Round(time.Millisecond))
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// verbose asks for all differences, and how long each script takes.
var verbose = os.Getenv("COMPAT_DETAIL") != ""

func cut(text string) string {
	if len(text) > maxDetail && !verbose {
		return text[:maxDetail] + "…"
	}
	return text
}
