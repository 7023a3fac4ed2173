package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker"
	"github.com/morrowmq/morrow/broker/salvage"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
)

// logSalvage is the command's flags.
type logSalvage struct {
	file, dir, output, undecided string
	pairs                        []string
	accept                       bool
}

// salvagedPartition is a damaged partition, as the command prints it in JSON.
type salvagedPartition struct {
	Partition    string         `json:"partition"`
	Directory    string         `json:"directory"`
	Lost         []lostOffsets  `json:"lost"`
	InBucket     []lostOffsets  `json:"in_bucket"`
	Transactions []undecidedTxn `json:"undecided_transactions"`
	Pending      int64          `json:"pending_before"`
	End          int64          `json:"end"`
	Salvaged     bool           `json:"salvaged"`
	Aside        string         `json:"aside,omitempty"`
	Refused      string         `json:"refused,omitempty"`
	found        *salvage.Partition
}

// lostOffsets are offsets [From, To) that cannot be read here any more, and where they were.
type lostOffsets struct {
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	File     string `json:"file"`
	Position int64  `json:"position"`
	End      int64  `json:"end_position"` // 0: the end of the file
	Problem  string `json:"problem"`
	Delayed  bool   `json:"delayed"` // delayed records, or what became of some, may be among them
}

type undecidedTxn struct {
	ProducerID int64 `json:"producer_id"`
	Epoch      int16 `json:"epoch"`
	First      int64 `json:"first"`
}

// salvageOutcomes are the values of --undecided.
var salvageOutcomes = map[string]log.Outcome{"": log.Unsaid, "commit": log.Commit, "abort": log.Abort, "leave": log.Leave}

func newLogSalvage() *cobra.Command {
	var s logSalvage
	cmd := &cobra.Command{
		Use:   "salvage [PARTITION...]",
		Short: "Give up records that are damaged and nowhere else, so that their partition can be served",
		Long: `Say which records are damaged and nowhere else and, with --accept-loss, give them up, so that
their partition can be served again. The broker must be stopped. A PARTITION is a name such as
orders-3; without any, all partitions are looked at. This reads their logs whole.

Without --accept-loss nothing is changed. First put files back from a copy if there is one.

What is whole stays, at its offset. The offsets that are lost stay used and hold nothing;
consumers skip them. What is confirmed in the bucket is not lost: it is read from there. The
damaged files are kept in "salvaged" in the data directory. An interruption is harmless: run
the command again.

Delayed records may be among what is lost, or what became of some: those are delivered again,
or although they were cancelled. Where the end of a transaction is lost and nothing else tells
how it ended, --undecided must say so: commit, abort, or leave it open, for its coordinator or
"morrow transaction" to end. What cannot be salvaged without doing harm is refused, with the
reason. docs/OPERATIONS.md says more.

With -o json: [{partition, directory, lost: [{from, to, file, position, end_position, problem,
delayed}], in_bucket, undecided_transactions, pending_before, end, salvaged, aside, refused}].

The exit code is 1 if there is damage that is still there.`,
		Example: `  morrow log salvage --data-dir /var/lib/morrow
  morrow log salvage --data-dir /var/lib/morrow --accept-loss orders-3`,
		Args:              wantArgs(0, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              s.run,
	}
	f := cmd.Flags()
	f.StringVarP(&s.file, "config", "c", "", "`file` with the configs of the broker; also as "+configEnv)
	f.StringArrayVar(&s.pairs, "set", nil, "broker config as `key=value`, may be repeated")
	f.StringVar(&s.dir, "data-dir", "", "`directory` of the broker's data (default: that of the broker)")
	f.BoolVar(&s.accept, "accept-loss", false, "give up what is lost")
	f.StringVar(&s.undecided, "undecided", "", "what becomes of transactions whose end is lost: `commit, abort or leave`")
	addOutputFlag(cmd, &s.output)
	completeFlags(cmd, map[string]cobra.CompletionFunc{
		"config":    cobra.FixedCompletions([]string{"yaml", "yml", "json", "toml", "properties"}, cobra.ShellCompDirectiveFilterFileExt),
		"set":       completeAssignment(brokerScope),
		"data-dir":  cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"undecided": cobra.FixedCompletions([]string{"commit", "abort", "leave"}, cobra.ShellCompDirectiveNoFileComp),
	})
	return cmd
}

func (s *logSalvage) run(cmd *cobra.Command, args []string) error {
	if err := checkOutput(s.output); err != nil {
		return err
	}
	undecided, ok := salvageOutcomes[s.undecided]
	if !ok {
		return fmt.Errorf("invalid value %q for --undecided: must be commit, abort or leave", s.undecided)
	}
	layout, err := brokerLayout(s.file, s.dir, s.pairs)
	if err != nil {
		return err
	}
	cfg := salvage.Config{
		FS: vfs.OS{}, Dir: layout.DataDir, Node: layout.NodeID, Partitions: args,
		AcceptLoss: s.accept, Undecided: undecided, Now: time.Now(),
	}
	found, err := salvage.Run(cmd.Context(), cfg)
	if err != nil && len(found) == 0 {
		return err // nobody knows whether anything is damaged
	}
	out := []salvagedPartition{}
	damaged := false
	for i := range found {
		p := salvaged(&found[i])
		damaged = damaged || !p.Salvaged
		out = append(out, p)
	}
	if perr := printAs(cmd.OutOrStdout(), s.output, out, func(w io.Writer) { printSalvaged(w, out, s.accept) }); err == nil {
		err = perr
	}
	if err == nil && damaged {
		err = errReported
	}
	return err
}

// brokerLayout is where the broker keeps what, by the same configuration that it is started with.
func brokerLayout(file, dir string, pairs []string) (broker.Layout, error) {
	set, err := configArgs(pairs)
	if err != nil {
		return broker.Layout{}, fmt.Errorf("--set: %w", err)
	}
	flags := config.Values{}
	for k, v := range set {
		flags[k] = *v
	}
	if dir != "" {
		flags["log.dir"] = dir
	}
	values, err := loadConfig(cmp.Or(file, os.Getenv(configEnv)), os.Environ(), flags)
	if err != nil {
		return broker.Layout{}, err
	}
	return broker.LayoutOf(values)
}

func salvaged(p *salvage.Partition) salvagedPartition {
	out := salvagedPartition{
		Partition: p.Name, Directory: p.Dir, Lost: []lostOffsets{}, InBucket: []lostOffsets{}, Transactions: []undecidedTxn{},
		Pending: p.Pending, Aside: p.Aside, Salvaged: p.Aside != "", found: p,
	}
	if p.Refused != nil {
		out.Refused = p.Refused.Error()
	}
	if p.Plan == nil {
		return out
	}
	out.End = p.Plan.End
	for _, l := range p.Plan.Lost {
		out.Lost = append(out.Lost, lostOffsets{l.From, l.To, l.File, l.Pos, l.EndPos, l.Err.Error(), l.Delayed})
	}
	for _, l := range p.Plan.Remote {
		out.InBucket = append(out.InBucket, lostOffsets{l.From, l.To, l.File, l.Pos, l.EndPos, l.Err.Error(), false})
	}
	for _, t := range p.Plan.Transactions {
		out.Transactions = append(out.Transactions, undecidedTxn{t.ProducerID, t.Epoch, t.First})
	}
	return out
}

func printSalvaged(w io.Writer, out []salvagedPartition, accept bool) {
	if len(out) == 0 {
		fmt.Fprintln(w, "nothing is damaged")
		return
	}
	for i := range out {
		printSalvagedPartition(w, &out[i])
	}
	if !accept {
		fmt.Fprintln(w, "Nothing was changed. What only the commit journal has is put into the segments before anything is given up.")
		fmt.Fprintln(w, "If there is no copy of the files to put back, --accept-loss gives up what is lost.")
	}
}

func printSalvagedPartition(w io.Writer, p *salvagedPartition) {
	fmt.Fprintf(w, "%s: %s\n", p.Partition, p.Directory)
	for _, l := range p.InBucket {
		fmt.Fprintf(w, "  in the bucket: offsets [%d, %d) are damaged here and read from there; %s\n", l.From, l.To, l.where())
	}
	for _, l := range p.Lost {
		what := fmt.Sprintf("lost: offsets [%d, %d)", l.From, l.To)
		if l.From == l.To {
			what = fmt.Sprintf("no offset is lost: damage at offset %d", l.From)
		}
		fmt.Fprintf(w, "  %s; %s\n", what, l.where())
		if l.Delayed && l.From < l.To {
			fmt.Fprintln(w, "    delayed records, or what became of some, may be among them")
		}
	}
	if p.Pending > 0 {
		fmt.Fprintf(w, "  delayed records before that, pending by what is left: %d; those whose delivery is lost are delivered again, those whose cancellation is lost are delivered\n", p.Pending)
	}
	for _, t := range p.Transactions {
		fmt.Fprintf(w, "  nobody knows how the transaction of producer %d (epoch %d) ended whose records begin at offset %d: --undecided must say so\n", t.ProducerID, t.Epoch, t.First)
	}
	if p.found.Plan != nil && p.found.Plan.Forgotten {
		fmt.Fprintln(w, "  who produced what is in the bucket is forgotten: a retry from then would be stored again")
	}
	if p.found.Internal && len(p.Lost) > 0 {
		fmt.Fprintln(w, "  it is a journal of the broker's: positions of groups, or transactions, fall back to what was known before")
	}
	switch {
	case p.Refused != "":
		fmt.Fprintf(w, "  refused: %s\n", p.Refused)
	case p.Salvaged:
		fmt.Fprintf(w, "  salvaged: the log goes on at offset %d; the damaged files are in %s\n", p.End, p.Aside)
	}
}

// where says where damage is, and what it is.
func (l *lostOffsets) where() string {
	name := filepath.Base(l.File)
	if l.End > 0 {
		return fmt.Sprintf("%s, positions [%d, %d): %s", name, l.Position, l.End, l.Problem)
	}
	return fmt.Sprintf("%s from position %d on: %s", name, l.Position, l.Problem)
}
