package bench

import "slices"

// Goal is a figure a broker should reach: how it compares with the bare machine in the same run or,
// for what has no bare counterpart, an amount.
type Goal struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Relative says that the figure is the broker's amount divided by the bare machine's.
	Relative bool `json:"relative"`
	// AtLeast and AtMost bound the figure; 0 is no bound. A row without either is for information.
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

// Row is how a goal was met. Broker, Bare and Figure are medians of all repetitions; each
// repetition's figure is of measurements made next to each other, so Figure is not exactly Broker /
// Bare.
type Row struct {
	Goal
	Broker float64 `json:"broker"`
	Bare   float64 `json:"bare,omitempty"`
	Figure float64 `json:"figure"`
	Low    float64 `json:"low"`  // of the figures
	High   float64 `json:"high"` // of the figures
	// Verdict is Met or Missed, or empty if the goal has no bound.
	Verdict string `json:"verdict,omitempty"`
}

// The verdicts of a row.
const (
	Met    = "met"
	Missed = "missed"
)

// sample is one repetition of a goal's measurement.
type sample struct {
	broker, bare float64
}

// judge compares samples, of which there is one at least, with a goal.
func (g Goal) judge(samples []sample) Row {
	var brokers, bares, figures []float64
	for _, s := range samples {
		brokers, bares = append(brokers, s.broker), append(bares, s.bare)
		if g.Relative {
			figures = append(figures, per(s.broker, s.bare))
		} else {
			figures = append(figures, s.broker)
		}
	}
	r := Row{
		Goal: g, Broker: median(brokers), Bare: median(bares),
		Figure: median(figures), Low: slices.Min(figures), High: slices.Max(figures),
	}
	switch {
	case g.AtLeast == 0 && g.AtMost == 0:
	case r.Figure >= g.AtLeast && (g.AtMost == 0 || r.Figure <= g.AtMost):
		r.Verdict = Met
	default:
		r.Verdict = Missed
	}
	return r
}

// median of at least one number. It sorts them.
func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
