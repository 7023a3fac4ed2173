package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker"
	"github.com/morrowmq/morrow/broker/restore"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/internal/when"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// tierRestore is the command's flags.
type tierRestore struct {
	client             *tierClient
	file, dir, cluster string
	pairs              []string
	takeOver, dryRun   bool
	acceptLoss         bool
	gap                int64
}

// restored is what the command prints.
type restored struct {
	Cluster string            `json:"cluster"`
	Topics  []restoredTopic   `json:"topics"`
	Skipped []restore.Skipped `json:"skipped"`
	// Partitions is empty in a dry run.
	Partitions []restore.Partition `json:"partitions"`
	// Groups is what came back of what groups had committed; in a dry run, what there is in the bucket.
	Groups restore.Groups `json:"groups"`
}

type restoredTopic struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"`
	Partitions  int               `json:"partitions"`
	Segments    int               `json:"segments"`
	Bytes       int64             `json:"bytes"`
	CommittedMs int64             `json:"committed_ms"`
	Config      map[string]string `json:"config"`
}

func newTierRestore(c *tierClient) *cobra.Command {
	r := tierRestore{client: c}
	cmd := &cobra.Command{
		Use:   "restore [TOPIC...]",
		Short: "Make the data directory of a broker from what is in the bucket: all topics, or those named",
		Long: `Make the data directory of a broker from what is in the bucket: all topics, or those named
by name or id. The broker is started on it afterwards, with the same configuration.

What was confirmed in the bucket comes back: records with their offsets and timestamps, delayed
ones too, topic configs and ids, the state of idempotent producers, aborted transactions.
Records stay in the bucket and are read from there. Every partition goes on behind a gap in
its offsets (--gap), so that none is used twice. Consumer groups are where they were up to a
minute before the end, but not beyond what came back. What is not tiered does not come back:
other topics and their groups' offsets, share groups, users, configs of brokers.

The data directory must be empty. After an interruption the command is run again.
It refuses while another broker uses the bucket: one that has given a sign of life in the last
five minutes. --take-over does not wait for that; be sure then that the old broker is dead.`,
		Example: `  morrow tier restore --data-dir /var/lib/morrow --set tier.url=s3://bucket/prefix?region=eu-central-1 --dry-run
  morrow tier restore --config morrow.yaml
  morrow tier restore --config morrow.yaml --take-over orders payments`,
		Args: wantArgs(0, -1),
		RunE: r.run,
	}
	f := cmd.Flags()
	f.StringVarP(&r.file, "config", "c", "", "`file` with the configs of the broker; also as "+configEnv)
	f.StringArrayVar(&r.pairs, "set", nil, "broker config as `key=value`, may be repeated")
	f.StringVar(&r.dir, "data-dir", "", "`directory` to restore into (default: that of the broker)")
	f.StringVar(&r.cluster, "cluster", "", "`id` of the cluster, if the bucket holds several")
	f.BoolVar(&r.takeOver, "take-over", false, "go on although another broker has used the bucket lately")
	f.BoolVar(&r.acceptLoss, "accept-loss", false, "give up the last segments of a partition if they are missing or damaged")
	f.BoolVar(&r.dryRun, "dry-run", false, "only show what would be restored")
	f.Int64Var(&r.gap, "gap", restore.DefaultGap, "`offsets` to leave free in each partition above the last one that is known to have been used")
	completeFlags(cmd, map[string]cobra.CompletionFunc{
		"config":   cobra.FixedCompletions([]string{"yaml", "yml", "json", "toml", "properties"}, cobra.ShellCompDirectiveFilterFileExt),
		"set":      completeAssignment(brokerScope),
		"data-dir": cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"cluster":  cobra.NoFileCompletions,
	})
	return cmd
}

func (r *tierRestore) run(cmd *cobra.Command, args []string) error {
	if r.gap < 1 {
		return fmt.Errorf("invalid value %d for --gap: must be at least 1", r.gap)
	}
	layout, err := brokerLayout(r.file, r.dir, r.pairs)
	if err != nil {
		return err
	}
	bucket, err := openExisting(cmd.Context(), cmp.Or(r.client.url, layout.TierURL), "")
	if err != nil {
		return err
	}
	plan, err := restore.MakePlan(cmd.Context(), bucket, r.cluster, args)
	if err != nil {
		return err
	}
	out := describePlan(&plan)
	if !r.dryRun {
		done, err := r.restore(cmd.Context(), cmd.ErrOrStderr(), bucket, layout, plan)
		if err != nil {
			if errors.Is(err, tier.ErrLastSegment) {
				return fmt.Errorf("%w; --accept-loss gives up what cannot be read", err)
			}
			return explainOwner(err, " or use --take-over")
		}
		out.Partitions, out.Groups = done.Partitions, done.Groups
	}
	return printAs(cmd.OutOrStdout(), r.client.output, out, func(w io.Writer) { printRestored(w, out, layout.DataDir) })
}

func (r *tierRestore) restore(ctx context.Context, stderr io.Writer, b bucket.Bucket, l broker.Layout, plan restore.Plan) (restore.Restored, error) {
	total := int64(0)
	for i := range plan.Topics {
		total += int64(plan.Topics[i].Count)
	}
	cfg := restore.Config{
		FS: vfs.OS{}, Dir: l.DataDir, Node: l.NodeID, Name: "morrow tier restore on " + hostName(),
		Bucket: b, TakeOver: r.takeOver, AcceptLoss: r.acceptLoss, Gap: r.gap, Now: time.Now,
	}
	if bar := newBar(stderr, "partitions", total); bar != nil {
		cfg.Progress = func(restore.Partition) { _ = bar.Add(1) }
		defer func() { _ = bar.Finish() }()
	}
	done, err := restore.Run(ctx, cfg, plan)
	slices.SortFunc(done.Partitions, func(x, y restore.Partition) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return done, err
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "this machine"
	}
	return name
}

// explainOwner adds to an error what to do about another owner of the bucket: to wait, or else.
func explainOwner(err error, orElse string) error {
	if owned, ok := errors.AsType[*tier.OwnedError](err); ok {
		free := when.RFC3339(owned.Owner.Seen + tier.OwnerTTL.Milliseconds())
		return fmt.Errorf("%w; if that one is dead, wait until %s%s", err, free, orElse)
	}
	return err
}

func describePlan(p *restore.Plan) restored {
	out := restored{Cluster: p.Cluster, Topics: []restoredTopic{}, Skipped: p.Skipped, Partitions: []restore.Partition{}, Groups: p.GroupsCopied()}
	if out.Skipped == nil {
		out.Skipped = []restore.Skipped{}
	}
	for i := range p.Topics {
		t := &p.Topics[i]
		row := restoredTopic{Name: t.Name, ID: t.ID.Kafka(), Partitions: int(t.Count), Config: t.Config, CommittedMs: t.Committed}
		for _, m := range t.Partitions {
			s := m.Summary()
			row.Segments += s.Segments
			row.Bytes += s.Bytes
		}
		out.Topics = append(out.Topics, row)
	}
	return out
}

func printRestored(w io.Writer, out restored, dir string) {
	if len(out.Partitions) == 0 {
		row(w, "TOPIC", "ID", "PARTITIONS", "SEGMENTS", "BYTES", "LAST COMMIT")
		for _, t := range out.Topics {
			row(w, t.Name, t.ID, t.Partitions, t.Segments, t.Bytes, timestamp(t.CommittedMs))
		}
	} else {
		row(w, "TOPIC", "PARTITION", "START", "END", "GOES ON AT", "SEGMENTS", "BYTES", "ABORTED")
		for _, p := range out.Partitions {
			row(w, p.Topic, p.Partition, p.Start, p.End, p.Next, p.Segments, p.Bytes, p.Aborted)
		}
	}
	for _, p := range out.Partitions {
		if p.GivenUp > 0 {
			fmt.Fprintf(w, "%s-%d: %d segments could not be read and were given up\n", p.Topic, p.Partition, p.GivenUp)
		}
	}
	for _, s := range out.Skipped {
		fmt.Fprintf(w, "skipped %s (%s): %s\n", s.Name, s.ID, s.Why)
	}
	switch g := out.Groups; {
	case g.Error != "":
		fmt.Fprintf(w, "groups begin anew: what they had committed cannot be read: %s\n", g.Error)
	case g.CopiedMs == 0:
		fmt.Fprintln(w, "groups begin anew: the bucket has no copy of what they had committed")
	default:
		fmt.Fprintf(w, "groups: %d, with %d offsets committed by %s, %d of them beyond what came back\n", g.Groups, g.Offsets, timestamp(g.CopiedMs), g.Moved)
	}
	if len(out.Partitions) > 0 {
		fmt.Fprintf(w, "%s is ready for a broker of cluster %s\n", dir, out.Cluster)
	}
}
