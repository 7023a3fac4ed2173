package tier

import (
	"time"

	"github.com/morrowmq/morrow/internal/pace"
)

// SetRates changes the limits of Options.CopyRate and Options.FetchRate.
func (t *Tier) SetRates(copyRate, fetchRate int64) {
	t.copyLimit.SetLimit(pace.Limit(copyRate))
	t.fetchLimit.SetLimit(pace.Limit(fetchRate))
}

// SetSpread changes Options.Spread; 0: producers do not go first.
func (t *Tier) SetSpread(spread time.Duration) { t.courtesy.setSpread(spread) }
