package tier

import "context"

// Drop removes the remote segments that lie wholly in [from, to), but for those that are spared,
// wherever in the partition that is: a finished run of a schedule log. The drop must be on record
// already (Source.Dropped), so that it can be repeated after a crash. It returns when the segments
// are unreachable; their objects are deleted later.
func (p *Partition) Drop(ctx context.Context, from, to int64, spare func(Span) bool) error {
	return p.inTurn(ctx, func(ctx context.Context) error {
		if err := p.ready(ctx); err != nil || p.catalog.current == nil {
			return err
		}
		next := p.catalog.current.clone()
		changed, err := p.catalog.cutMiddle(ctx, next, from, to, spare, p.tier.now().UnixMilli())
		if err != nil || !changed {
			return err
		}
		if err := p.commit(ctx, next); err != nil {
			return err
		}
		p.Notify()
		return p.settle(nil)
	})
}
