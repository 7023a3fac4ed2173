package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/tier"
)

func newTierVerify(c *tierClient) *cobra.Command {
	var o tier.VerifyOptions
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify [TOPIC]",
		Short: "Check that every object a manifest names is there, whole and undamaged, of all topics or of one",
		Long: `Check that every object a manifest names is there, whole and undamaged, of all topics or of
one. It reads the bucket and can run beside brokers, which do the same once in a while
(tier.scrub.interval.ms).

With --repair it asks the broker to do it, which stores damaged segments anew from the local
copy where there still is one. The exit code is 1 if damage is left.`,
		Example: `  morrow tier verify
  morrow tier verify orders --deep --rate 10000000 --url s3://bucket/prefix?region=eu-central-1
  morrow tier verify orders --repair`,
		Args: wantArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			look := c.verifyBucket
			if repair {
				look = c.verifyBroker
			}
			topic := ""
			if len(args) > 0 {
				topic = args[0]
			}
			rows, err := look(cmd, topic, o)
			if err != nil {
				return err
			}
			return c.printVerified(cmd, rows)
		},
	}
	cmd.Flags().BoolVar(&o.Deep, "deep", false, "read every byte and compute its checksum, rather than ask the store what it has")
	cmd.Flags().Int64Var(&o.BytesPerSecond, "rate", 0, "bytes per second to read at most; 0 is no limit")
	cmd.Flags().BoolVar(&repair, "repair", false, "let the broker do it and repair what is damaged")
	return cmd
}

func (c *tierClient) printVerified(cmd *cobra.Command, rows []remote.Verified) error {
	left := 0
	for _, r := range rows {
		left += len(r.Damaged) - r.Repaired
	}
	err := printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
		row(w, "TOPIC", "PARTITION", "OBJECTS", "BYTES", "DAMAGED", "REPAIRED")
		for _, r := range rows {
			row(w, r.Topic, r.Partition, r.Objects, r.Bytes, len(r.Damaged), r.Repaired)
		}
		for _, r := range rows {
			for _, d := range r.Damaged {
				state := "damaged"
				if d.Repaired {
					state = "repaired"
				}
				what := fmt.Sprintf(" [%d, %d)", d.Base, d.End)
				if d.Base == tier.NoOffset { // the manifest
					what = ""
				}
				fmt.Fprintf(w, "%s %s-%d%s: %s\n", state, r.Topic, r.Partition, what, d.Error)
			}
		}
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%d objects are damaged or missing", left)
	}
	return err
}

// verifyBucket looks at the bucket itself.
func (c *tierClient) verifyBucket(cmd *cobra.Command, topic string, o tier.VerifyOptions) ([]remote.Verified, error) {
	b, topics, err := c.inventory(cmd.Context())
	if err != nil {
		return nil, err
	}
	var manifests []*tier.Manifest
	rows, total := []remote.Verified{}, 0
	for _, t := range topics {
		if topic != "" && t.Name != topic && t.ID.Kafka() != topic {
			continue
		}
		for _, m := range t.Partitions {
			manifests = append(manifests, m)
			total += m.Summary().Segments
		}
		for _, d := range t.Damaged {
			harm := remote.Damage{Key: d.Key, Base: tier.NoOffset, End: tier.NoOffset, Error: d.Err.Error()}
			rows = append(rows, remote.Verified{Topic: cmp.Or(t.Name, t.ID.Kafka()), Partition: d.Partition, Objects: 1, Damaged: []remote.Damage{harm}})
		}
	}
	if topic != "" && len(manifests)+len(rows) == 0 {
		return nil, fmt.Errorf("%s holds no topic %q", b, topic)
	}
	if bar := newBar(cmd.ErrOrStderr(), "segments", int64(total)); bar != nil {
		o.Progress = func(tier.Span) { _ = bar.Add(1) }
		defer func() { _ = bar.Finish() }()
	}
	for _, m := range manifests {
		v, err := tier.Verify(cmd.Context(), b, m, o)
		if err != nil {
			return nil, err
		}
		r := remote.Verified{Topic: m.Name, Partition: m.PartitionID.Partition, Objects: v.Objects, Bytes: v.Bytes, Damaged: []remote.Damage{}}
		for _, d := range v.Damaged {
			r.Damaged = append(r.Damaged, remote.Damage{Key: d.Key, Base: d.Entry.Base, End: d.Entry.End, Error: d.Err.Error()})
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// verifyBroker asks the broker, partition by partition.
func (c *tierClient) verifyBroker(cmd *cobra.Command, topic string, o tier.VerifyOptions) ([]remote.Verified, error) {
	s, err := c.status(cmd.Context(), topic)
	if err != nil {
		return nil, err
	}
	bar := newBar(cmd.ErrOrStderr(), "partitions", int64(len(s.Partitions)))
	rows := []remote.Verified{}
	for _, p := range s.Partitions {
		var v remote.Verified
		q := remote.VerifyRequest{Deep: o.Deep, BytesPerSecond: o.BytesPerSecond}
		if err := c.do(cmd.Context(), http.MethodPost, &v, q, nil, p.Topic, strconv.Itoa(int(p.Partition)), "verify"); err != nil {
			return nil, err
		}
		rows = append(rows, v)
		if bar != nil {
			_ = bar.Add(1)
		}
	}
	if bar != nil {
		_ = bar.Finish()
	}
	return rows, nil
}
