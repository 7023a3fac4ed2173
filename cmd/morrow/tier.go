package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
)

func newTier() *cobra.Command {
	c := tierClient{apiClient: apiClient{base: "api/v1/tier"}}
	cmd := newFamily("tier", "See and look after what is tiered to object storage",
		newTierStatus(&c), newTierExplain(&c), newTierProbe(&c), newTierList(&c), newTierShow(&c), newTierVerify(&c), newTierSweep(&c), newTierRestore(&c))
	cmd.Long = `See and look after what is tiered to object storage.

status, explain and sweep ask the broker's HTTP address. The others talk to the bucket
itself and need no broker; probe, ls, show and verify change nothing in it.

With -o json, status, explain and sweep print what the HTTP API answers, as docs/openapi.yaml
describes it; the others print the columns of their tables, and more.`
	cmd.Example = `  morrow tier status                                       how far everything is confirmed
  morrow tier explain orders                               why each segment is kept or gone
  morrow tier probe s3://bucket/prefix?region=eu-central-1
  morrow tier ls --url s3://bucket/prefix?region=eu-central-1
  morrow tier verify --deep --url file:///var/lib/morrow/tier
  morrow tier sweep                                        what nobody names; --delete deletes it, --log shows what was deleted
  morrow tier restore --config morrow.yaml                 after the loss of a disk`
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

// open opens the bucket.
func (c *tierClient) open(ctx context.Context) (tier.Bucket, error) {
	url := c.url
	if url == "" {
		dir, err := filepath.Abs(filepath.Join("data", "tier"))
		if err != nil {
			return nil, err
		}
		url = "file://" + dir
	}
	return tier.OpenBucket(ctx, url, vfs.OS{})
}

// inventory opens the bucket and lists the topics that are in it and not deleted.
func (c *tierClient) inventory(ctx context.Context) (tier.Bucket, []tier.RemoteTopic, error) {
	b, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := tier.Inventory(ctx, b, "")
	var topics []tier.RemoteTopic
	for _, t := range all {
		if !t.Deleted && len(t.Partitions) > 0 {
			topics = append(topics, t)
		}
	}
	return b, topics, err
}

// instant is a time as people read it, "-" if it is zero.
func instant(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}
