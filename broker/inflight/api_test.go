package inflight

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
)

var (
	orders, bills, gone = cluster.TopicID{1}, cluster.TopicID{2}, cluster.TopicID{3}

	image = cluster.NewImage("cluster", 1, nil).With(cluster.Change{Topics: []*cluster.Topic{{ID: orders, Name: "orders"}, {ID: bills, Name: "bills"}}})
)

// ask requests a path from the API of a broker that coordinates only the group workers, with what
// it has in flight.
func ask(t *testing.T, path string, statuses ...share.Status) (int, string) {
	t.Helper()
	of := func(group string) []share.Status {
		if group != "workers" {
			return nil
		}
		return statuses
	}
	mux := http.NewServeMux()
	for _, r := range New(func() *cluster.Image { return image }, of, func(group string) bool { return group == "workers" }).Routes() {
		mux.HandleFunc(r.Method+" "+r.Path, r.Handler)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func want(t *testing.T, status int, body string, wantStatus int, wantBody string) {
	t.Helper()
	if status != wantStatus || body != wantBody+"\n" {
		t.Errorf("%d %s, want %d %s", status, body, wantStatus, wantBody)
	}
}

func key(topic cluster.TopicID, partition int32) share.Key {
	return share.Key{Group: "workers", Topic: topic, Partition: partition}
}

func TestPartitionIsToldAsTheGroupSeesIt(t *testing.T) {
	status, body := ask(t, "/api/v1/shares/workers", share.Status{
		Key: key(orders, 2), Start: 3, End: 20, Available: 1, Waiting: 2, Acquired: 4, Finished: 5, Dying: 6,
		Deliveries: []int64{7, 8}, Stuck: errors.New("no dead-letter topic"),
	})
	want(t, status, body, 200, `[{"group":"workers","topic":"orders","partition":2,"start":3,"end":20,"available":1,"waiting":2,`+
		`"acquired":4,"finished":5,"dying":6,"deliveries":[7,8],"error":"no dead-letter topic"}]`)
}

func TestPartitionsComeByTopicAndNumberWithoutThoseOfDeletedTopics(t *testing.T) {
	status, body := ask(t, "/api/v1/shares/workers",
		share.Status{Key: key(orders, 10)}, share.Status{Key: key(gone, 0)}, share.Status{Key: key(orders, 9)}, share.Status{Key: key(bills, 11)})
	const zeros = `"start":0,"end":0,"available":0,"waiting":0,"acquired":0,"finished":0,"dying":0,"deliveries":[]}`
	want(t, status, body, 200, `[{"group":"workers","topic":"bills","partition":11,`+zeros+`,{"group":"workers","topic":"orders","partition":9,`+zeros+
		`,{"group":"workers","topic":"orders","partition":10,`+zeros+`]`)
}

func TestGroupWithNothingInFlightIsNotUnknown(t *testing.T) {
	status, body := ask(t, "/api/v1/shares/workers")
	want(t, status, body, 200, `[]`)
	status, body = ask(t, "/api/v1/shares/nobody", share.Status{Key: key(orders, 0)})
	want(t, status, body, 404, `{"error":"not_found","message":"this broker knows no share group \"nobody\""}`)
}
