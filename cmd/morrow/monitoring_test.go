package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// Metrics are named as Prometheus asks for, which `promtool check metrics` would say too. Rules
// about metrics that do not exist never fire. And every metric of the tier is explained, with its
// help and one type.
func TestMonitoringIsAboutMetricsThatExist(t *testing.T) {
	b, _, _ := tieredBroker(t)
	b.morrow(t, "topic", "create", "states", "-p", "1", "--set", "cleanup.policy=compact")
	resp, err := http.Get("http://" + b.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# HELP (morrow_\w+) \S`).FindAllStringSubmatch(string(text), -1) {
		exists[m[1]] = true
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "morrow_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	named := regexp.MustCompile(`morrow_\w+`)
	rules, err := os.ReadFile("../../docs/monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range named.FindAllString(string(rules), -1) {
		if !exists[name] {
			t.Errorf("alerts.yml is about %s, which does not exist", name)
		}
	}
	guide, err := os.ReadFile("../../docs/monitoring/README.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, name := range named.FindAllString(string(guide), -1) {
		explained[name] = true
	}
	for name := range exists {
		if strings.HasPrefix(name, "morrow_tier_") && !explained[name] {
			t.Errorf("docs/monitoring/README.md does not explain %s", name)
		}
	}
	for name := range explained {
		if strings.HasPrefix(name, "morrow_tier_") && !exists[name] {
			t.Errorf("docs/monitoring/README.md explains %s, which does not exist", name)
		}
	}
}
