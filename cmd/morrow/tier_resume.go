package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
)

func newTierResume(c *tierClient) *cobra.Command {
	var accept bool
	cmd := &cobra.Command{
		Use:   "resume TOPIC",
		Short: "Have what has stopped of a topic, since the bucket has other records than the log, go on from the log",
		Long: `Have what has stopped of a topic, and of its schedule, since the bucket has other records than
the log (partition_stopped in "morrow tier status"), go on from the log of this broker.

It lists what another broker has put into the bucket in the place of this one's records, or
above their end. With --accept-loss this is given up: it cannot be read any more, uploads go
on with what this broker has, and a sweep deletes the objects. Copy those that you want to
keep before; "morrow log dump" shows their records. What the other broker has delivered of
delayed records is delivered again.

Be sure that the other broker is stopped for good. To go on with what is in the bucket instead,
make a data directory from it with "morrow tier restore".`,
		Example: `  morrow tier resume orders
  morrow tier resume orders --accept-loss`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := c.resume(cmd, args[0], accept)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) { printResumed(w, rows) })
		},
	}
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "give up what the other broker has uploaded")
	return cmd
}

// resume asks the broker, for each partition of the topic and of its schedule.
func (c *tierClient) resume(cmd *cobra.Command, topic string, accept bool) ([]remote.Resumed, error) {
	s, err := c.status(cmd.Context(), "")
	if err != nil {
		return nil, err
	}
	rows := []remote.Resumed{}
	for _, p := range s.Partitions {
		if p.Topic != topic && p.Topic != "__schedule."+topic {
			continue
		}
		var r remote.Resumed
		err := c.do(cmd.Context(), http.MethodPost, &r, remote.ResumeRequest{AcceptLoss: accept}, nil, p.Topic, strconv.Itoa(int(p.Partition)), "resume")
		if refused := (*rest.Error)(nil); errors.As(err, &refused) && refused.Code == "not_diverged" {
			continue
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("topic %s does not exist, is not tiered, or has not stopped because of other records in the bucket", topic)
	}
	return rows, nil
}

func printResumed(w io.Writer, rows []remote.Resumed) {
	row(w, "TOPIC", "PARTITION", "BASE", "END", "BYTES", "KEY")
	for _, r := range rows {
		for _, x := range r.Segments {
			row(w, r.Topic, r.Partition, x.Base, x.End, x.Bytes, x.Key)
		}
	}
	for _, r := range rows {
		what := "to be given up for the log of this broker, with --accept-loss"
		if r.Resumed {
			what = "given up for the log of this broker"
		}
		fmt.Fprintf(w, "%s-%d: offsets %d to %d of the bucket, %d segments of %d bytes: %s\n", r.Topic, r.Partition, r.From, r.To, len(r.Segments), r.Bytes, what)
	}
}
