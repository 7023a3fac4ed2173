package config

import (
	"strings"
	"testing"
)

func TestExpectsIsWhatARefusalSays(t *testing.T) {
	for _, test := range []struct {
		scope      Scope
		name, want string
	}{
		{ScopeTopic, "retention.ms", "an integer ≥ -1"},
		{ScopeTopic, "compression.gzip.level", "-1 or an integer from 1 to 9"},
		{ScopeTopic, "delay.levels", "durations such as 500ms, 10s, 5m, 1h or 2d separated by spaces"},
		{ScopeTopic, "preallocate", "true or false"},
		{ScopeBroker, "http.listen", "host:port"},
		{ScopeBroker, "listeners", "a list of NAME://host:port, such as PLAINTEXT://127.0.0.1:9092"},
		{ScopeBroker, "log.dir", "not empty"},
		{ScopeBroker, "broker.rack", ""},
	} {
		d, ok := Lookup(test.scope, test.name)
		if got := d.Expects(); !ok || got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestEveryRuleExplainsItself(t *testing.T) {
	for _, scope := range []Scope{ScopeTopic, ScopeBroker, ScopeGroup} {
		for _, d := range scope.table().defs {
			want := d.Expects()
			if d.Type.String() == "unknown" || (d.Valid != nil || d.Type != String && d.Type != List && d.Type != Class && d.Type != Password) && want == "" {
				t.Errorf("%s config %s: type %s, expects %q", scope, d.Name, d.Type, want)
			}
			if strings.ContainsRune(want, 0) || strings.Contains(want, "must") {
				t.Errorf("%s config %s expects %q", scope, d.Name, want)
			}
		}
	}
}
