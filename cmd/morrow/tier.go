package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

func newTier() *cobra.Command {
	c := tierClient{apiClient: apiClient{base: "api/v1/tier"}}
	cmd := newFamily("tier", "See and look after what is tiered to object storage",
		newTierStatus(&c), newTierExplain(&c), newTierProbe(&c), newTierList(&c), newTierShow(&c), newTierVerify(&c), newTierResume(&c), newTierSweep(&c), newTierRestore(&c))
	cmd.Long = `See and look after what is tiered to object storage.

status, explain, resume and sweep ask the broker's HTTP address. The others talk to the bucket
itself and need no broker; ls, show and verify change nothing in it, and probe removes the
objects that it tries the store with.

With -o json, status, explain, resume and sweep print what the HTTP API answers, as
docs/openapi.yaml describes it; the others print the columns of their tables, and more.`
	cmd.Example = `  morrow tier status                                       how far everything is confirmed
  morrow tier explain orders                               why each segment is kept or gone
  morrow tier probe s3://bucket/prefix?region=eu-central-1
  morrow tier ls --url s3://bucket/prefix?region=eu-central-1
  morrow tier verify --deep --url file:///var/lib/morrow/tier
  morrow tier sweep                                        what nobody names; --delete deletes it, --log shows what was deleted
  morrow tier restore --config morrow.yaml                 after the loss of a disk`
	for _, sub := range cmd.Commands() {
		sub.RunE = advised(sub.RunE)
	}
	c.addHTTPFlag(cmd)
	cmd.PersistentFlags().StringVar(&c.url, "url", "", "`address` of the bucket, as in tier.url (default: the directory data/tier)")
	addOutputFlag(cmd, &c.output)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return checkOutput(c.output) }
	return cmd
}

// tierClient is what the commands share: how to ask a broker, which bucket, and how to print.
type tierClient struct {
	apiClient
	url, output string
}

// open opens the bucket. One that is a directory must exist: a broker makes it, and a look at a
// mistyped one must not find it empty, and well.
func (c *tierClient) open(ctx context.Context) (bucket.Bucket, error) {
	url, hint := c.url, ""
	if url == "" {
		dir, err := filepath.Abs(filepath.Join("data", "tier"))
		if err != nil {
			return nil, err
		}
		url, hint = "file://"+dir, ": say with --url where the bucket is"
	}
	return openExisting(ctx, url, hint)
}

// openExisting opens a bucket. The hint ends the error for a directory that is not there.
func openExisting(ctx context.Context, url, hint string) (bucket.Bucket, error) {
	if dir, ok := strings.CutPrefix(url, "file://"); ok {
		if st, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
			return nil, fmt.Errorf("there is no directory %s%s", dir, hint)
		}
	}
	b, err := bucket.Open(ctx, url, vfs.OS{})
	if err != nil {
		return nil, err
	}
	return bucket.Patient(b), nil
}

// advised says with what a store has refused what can be done about it, as a broker's alarms do.
func advised(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if store := (*bucket.Error)(nil); errors.As(err, &store) || errors.Is(err, bucket.ErrUnfit) {
			return errors.New(tier.Advice(err))
		}
		return err
	}
}

// inventory opens the bucket and lists the topics that are in it and not deleted, those with
// damaged manifests too.
func (c *tierClient) inventory(ctx context.Context) (bucket.Bucket, []tier.RemoteTopic, error) {
	b, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := tier.Inventory(ctx, b, "")
	var topics []tier.RemoteTopic
	for _, t := range all {
		if !t.Deleted && len(t.Partitions)+len(t.Damaged) > 0 {
			topics = append(topics, t)
		}
	}
	return b, topics, err
}

// damaged says which manifests of topics cannot be read; nil if all can.
func damaged(topics ...tier.RemoteTopic) error {
	var errs []error
	for _, t := range topics {
		for _, d := range t.Damaged {
			errs = append(errs, d.Err)
		}
	}
	return errors.Join(errs...)
}
