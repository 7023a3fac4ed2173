package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"acks 1", "acks 1", true},
		{"acks 1", "acks 10", false},
		{"*", "", true},
		{"acks *", "acks -1", true},
		{"*.ErrorCode", `Topics["a"].Partitions[0].ErrorCode`, true},
		{"*[0]*Code", `Topics["a"].Partitions[0].ErrorCode`, true},
		{"*[1]*Code", `Topics["a"].Partitions[0].ErrorCode`, false},
		{"*.ErrorCode", "ErrorMessage", false},
	} {
		if got := like(tc.pattern, tc.text); got != tc.want {
			t.Errorf("like(%q, %q) = %v", tc.pattern, tc.text, got)
		}
	}
}

// described is an answer to a request for metadata of some topics, as a broker gives it.
func described(id byte, names ...string) []string {
	resp := kmsg.NewPtrMetadataResponse()
	for _, name := range names {
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.TopicID = &name, [16]byte{id}
		id++
		resp.Topics = append(resp.Topics, rt)
	}
	return flatten(resp, false, symbols{})
}

func TestAnswersAreComparedByField(t *testing.T) {
	compared := func(morrow, kafka []string) string {
		var texts []string
		for _, d := range compareOne(answer{"ask", 3, morrow}, answer{"ask", 3, kafka}) {
			texts = append(texts, d.path+": "+d.morrow+", "+d.kafka)
		}
		return strings.Join(texts, "\n")
	}
	for _, tc := range []struct {
		name          string
		morrow, kafka []string
		want          string
	}{
		{"ids are the broker's", described(1, "a", "b"), described(7, "a", "b"), ""},
		{"lists are in no order", described(1, "b", "a"), described(1, "a", "b"), ""},
		{"an element more is one difference", described(1, "a", "b"), described(1, "a"), `Topics: ["a" "b"], ["a"]`},
		{"another value", []string{"ErrorCode=NONE"}, []string{"ErrorCode=UNKNOWN_SERVER_ERROR"}, "ErrorCode: NONE, UNKNOWN_SERVER_ERROR"},
		{"saying more", []string{"ErrorMessage=(a message)"}, []string{"ErrorMessage=null"}, ""},
		{"saying less", []string{"ErrorMessage=null"}, []string{"ErrorMessage=(a message)"}, "ErrorMessage: null, (a message)"},
		{"no answer", []string{"ErrorCode=NONE"}, []string{outcome(errClosed)}, "ErrorCode: NONE, \n: , (the connection is closed)"},
	} {
		if got := compared(tc.morrow, tc.kafka); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

func TestDifferencesAreJudgedByTheList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "differences")
	text := "# why\nfetch  all  *Code  known, and meant\nfetch  gone  *  not there any more\nother  *  *  of another script\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := readMeant(file)
	if err != nil {
		t.Fatal(err)
	}
	got := list.judge("fetch", []difference{
		{"all", 4, "ErrorCode", "A", "B"},
		{"some", 4, "ErrorCode", "A", "B"},
		{"some", 9, "ErrorCode", "A", "B"},
	})
	want := []string{
		"v4-9 some ErrorCode: Morrow A, Kafka B",
		"no difference in gone, *, though one is meant: not there any more",
	}
	if !slices.Equal(got, want) {
		t.Errorf("judged %q, want %q", got, want)
	}
	if err := os.WriteFile(file, []byte("fetch  all  no reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readMeant(file); err == nil {
		t.Error("a line without a reason is taken")
	}
}

// A batch that the scripts send is one that a broker takes.
func TestBatch(t *testing.T) {
	var b kmsg.RecordBatch
	raw := batch("a", strings.Repeat("b", 100))
	if err := b.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if int(b.Length) != len(raw)-12 || b.NumRecords != 2 || b.LastOffsetDelta != 1 {
		t.Errorf("batch is %+v", b)
	}
	var r kmsg.Record
	if err := r.ReadFrom(b.Records); err != nil || string(r.Value) != "a" {
		t.Errorf("first record is %+v, %v", r, err)
	}
}
