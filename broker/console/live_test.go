package console

import "testing"

func TestPartitionsOfAMemberAreNamedUpToAPoint(t *testing.T) {
	if got := assigned("orders", []int32{3, 0, 1}); got != "orders 0, 1, 3" {
		t.Error(got)
	}
	many := make([]int32, maxAssigned+5)
	for i := range many {
		many[i] = int32(i)
	}
	if got, want := assigned("<o>", many), "27, 28, 29, 30, 31 and 5 more"; len(got) < len(want) || got[len(got)-len(want):] != want {
		t.Error(got)
	}
}

func TestRefusalsAreToldInTheirOwnWords(t *testing.T) {
	message := "group x is not here"
	for want, err := range map[string]error{message: refusal(16, &message), "the coordinator answers with error code 16": refusal(16, nil)} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := refusal(0, &message); err != nil {
		t.Error(err)
	}
}
