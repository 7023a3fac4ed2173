package bench

import "testing"

func TestGoalsAreJudgedByTheMedianOfRepetitions(t *testing.T) {
	samples := []sample{{broker: 8, bare: 10}, {broker: 1, bare: 10}, {broker: 90, bare: 100}}
	for _, c := range []struct {
		goal    Goal
		figure  float64
		verdict string
	}{
		{Goal{Relative: true, AtLeast: 0.8}, 0.8, Met},
		{Goal{Relative: true, AtLeast: 0.81}, 0.8, Missed},
		{Goal{Relative: true, AtMost: 0.8}, 0.8, Met},
		{Goal{AtMost: 7}, 8, Missed},
		{Goal{AtLeast: 8}, 8, Met},
		{Goal{Relative: true}, 0.8, ""},
	} {
		r := c.goal.judge(samples)
		if r.Figure != c.figure || r.Verdict != c.verdict {
			t.Errorf("%+v: %v, %q; want %v, %q", c.goal, r.Figure, r.Verdict, c.figure, c.verdict)
		}
		if r.Broker != 8 || r.Bare != 10 {
			t.Errorf("medians are %v and %v", r.Broker, r.Bare)
		}
	}
	r := Goal{Relative: true}.judge(samples)
	if r.Low != 0.1 || r.High != 0.9 {
		t.Errorf("range is %v to %v", r.Low, r.High)
	}
}

func TestMedianOfAnEvenNumber(t *testing.T) {
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median is %v", got)
	}
}
