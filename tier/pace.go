package tier

import "github.com/morrowmq/morrow/internal/pace"

// SetRates changes the limits of Options.CopyRate and Options.FetchRate.
func (t *Tier) SetRates(copyRate, fetchRate int64) {
	t.copyLimit.SetLimit(pace.Limit(copyRate))
	t.fetchLimit.SetLimit(pace.Limit(fetchRate))
}
