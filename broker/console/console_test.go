package console

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/broker/schedules"
)

func TestBrowsersWantPages(t *testing.T) {
	for accept, want := range map[string]bool{"": false, "*/*": false, "application/json": false, "text/html,application/xhtml+xml;q=0.9": true} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		if Wanted(r) != want {
			t.Errorf("%q: %v", accept, !want)
		}
	}
}

func TestWhatIsNotThereIsRefusedAsAPage(t *testing.T) {
	w := newWorld()
	has(t, w.get(t, "/console/nope", http.StatusNotFound), "There is no page &#34;/console/nope&#34;.")
	has(t, w.get(t, "/console/topics/%3Cb%3E", http.StatusNotFound), "There is no topic &lt;b&gt;.")
	has(t, w.get(t, "/console/topics/a/records/0/5", http.StatusNotFound), "nothing is pending under ticket 5")
	has(t, w.get(t, "/console/group?id=%3Cb%3E", http.StatusNotFound), "This broker knows no group &lt;b&gt;.")
	w.get(t, "/console/static/nope", http.StatusNotFound)
	w.get(t, "/console/static/..%2Fconsole.go", http.StatusNotFound)
}

// A link, or an image in a page of another site, changes nothing.
func TestOnlyFormsChangeAnything(t *testing.T) {
	w := newWorld()
	w.withTopic("orders")
	for _, path := range []string{"cancel", "move?due=now"} {
		w.get(t, "/console/topics/orders/records/0/5/"+path, http.StatusNotFound)
	}
	w.get(t, "/console/topics/orders/cancel?all=1", http.StatusOK) // counts
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodDelete, "/console/topics/orders", nil))
	if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
	if w.cancels != nil || w.moves != nil || len(w.together) != 1 || !w.together[0].DryRun {
		t.Errorf("cancelled %v and %v, moved %v", w.cancels, w.together, w.moves)
	}
}

func TestFilesOfThePagesAreServed(t *testing.T) {
	w := newWorld()
	for name, kind := range map[string]string{"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/console/static/"+name, nil))
		h := answer.Header()
		if answer.Code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), kind) || h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name, answer.Code, h)
		}
	}
}

// The policy of the pages forbids styles and scripts in them: a browser would leave them out.
func TestPagesHaveNoStylesOrScriptsOfTheirOwn(t *testing.T) {
	names, err := pages.ReadDir("pages")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		page, err := pages.ReadFile("pages/" + name.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, inline := range []string{" style=", "<style", " onclick=", "<script>", "javascript:", "http://", "https://"} {
			if bytes.Contains(page, []byte(inline)) {
				t.Errorf("%s has %q", name.Name(), inline)
			}
		}
	}
}

func TestLongListsAreShownInParts(t *testing.T) {
	w := newWorld()
	for i := range 450 {
		w.withTopic(fmt.Sprintf("t%03d", i))
	}
	first := w.get(t, "/console/?find=t", http.StatusOK)
	has(t, first, "t000<", "t199<", "Rows 1 to 200 of 450.", `href="/console/?find=t&amp;skip=200"`)
	lacks(t, first, "t200<", "Previous")
	last := w.get(t, "/console/?skip=400", http.StatusOK)
	has(t, last, "t400<", "t449<", "Rows 401 to 450 of 450.", `href="/console/?skip=200"`)
	lacks(t, last, "t399<", "Next</a>")
	for _, skip := range []string{"450", "-1", "x"} {
		has(t, w.get(t, "/console/?skip="+skip, http.StatusOK), "t000<")
	}
	has(t, w.get(t, "/console/?find=t44", http.StatusOK), "10 of 450", "t449<")
}

func TestNumbersAndTextsAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -123: "-123"} {
		if got := count(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
	for s, want := range map[string]string{"": `""`, "plain text": "plain text", "Zürich": "Zürich", " a": `" a"`, "a\nb": `"a\nb"`, "\xff\x00": `"\xff\x00"`, "a\u202eb": `"a\u202eb"`} {
		if got := text(s); got != want {
			t.Errorf("%q is %s", s, got)
		}
	}
}

func TestKeysAndValuesAreShownAsTheyCanBeRead(t *testing.T) {
	for s, want := range map[string]string{
		"a\n\tb": "a\n\tb", "": `""`, "\xff": `"\xff"`, "a\x00": `"a\x00"`,
		strings.Repeat("ü", maxShown):         strings.Repeat("ü", maxShown/2) + " … and 4,096 bytes more",
		"x" + strings.Repeat("ü", maxShown/2): "x" + strings.Repeat("ü", maxShown/2-1) + " … and 1 byte more",
	} {
		b := schedules.Bytes(s)
		if got := shown(&b); got != want {
			t.Errorf("%q is %q", s, got)
		}
	}
	if got := shown(nil); got != "null" {
		t.Error(got)
	}
}

func TestOnlyTheLastOutcomesAreKept(t *testing.T) {
	var o outcomes
	first := o.add(outcome{Text: "first"})
	second := o.add(outcome{Text: "second"})
	for range keptOutcomes - 1 {
		o.add(outcome{})
	}
	if o.find(first) != nil || o.find("") != nil || o.find(second) == nil || o.find(second).Text != "second" {
		t.Errorf("%v %v", o.find(first), o.find(second))
	}
	if len(o.kept) != keptOutcomes || len(o.ids) != keptOutcomes {
		t.Errorf("%d outcomes of %d ids are kept", len(o.kept), len(o.ids))
	}
}
