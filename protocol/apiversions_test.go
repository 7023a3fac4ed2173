package protocol

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var testFeatures = Features{Epoch: 7, All: []Feature{
	{Name: "metadata.version", Min: 7, Max: 29, Finalized: 29},
	{Name: "group.version", Min: 0, Max: 1, Finalized: 1},
	{Name: "share.version", Min: 0, Max: 1},
}}

func apiVersionsRequest(version int16) *kmsg.ApiVersionsRequest {
	r := kmsg.NewPtrApiVersionsRequest()
	r.Version, r.ClientSoftwareName, r.ClientSoftwareVersion = version, "apache-kafka-java", "4.3.0"
	return r
}

func TestApiVersionsShowsTheRoutes(t *testing.T) {
	for version := range int16(apiVersionsMax + 1) {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{Features: func() Features { return testFeatures }},
					Route{Key: 60, Max: 2, Start: empty},
					Route{Key: 0, Min: 0, Serve: 3, Max: 13, Start: empty},
					Route{Key: 12, Min: 1, Max: 4, Start: empty})
				resp := b.connect().call(apiVersionsRequest(version)).(*kmsg.ApiVersionsResponse)
				got := fmt.Sprint(resp.ErrorCode)
				for _, k := range resp.ApiKeys {
					got += fmt.Sprintf(" %d:%d-%d", k.ApiKey, k.MinVersion, k.MaxVersion)
				}
				if want := "0 0:0-13 12:1-4 18:0-5 60:0-2"; got != want {
					t.Errorf("error and keys %q, want %q", got, want)
				}
				got = fmt.Sprint(resp.FinalizedFeaturesEpoch)
				for _, f := range resp.SupportedFeatures {
					got += fmt.Sprintf(" %s:%d-%d", f.Name, f.MinVersion, f.MaxVersion)
				}
				for _, f := range resp.FinalizedFeatures {
					got += fmt.Sprintf(" %s=%d-%d", f.Name, f.MinVersionLevel, f.MaxVersionLevel)
				}
				want := "-1" // there is no place for features
				switch version {
				case 3:
					want = "7 metadata.version:7-29 metadata.version=29-29 group.version=1-1"
				case 4, 5:
					want = "7 metadata.version:7-29 group.version:0-1 share.version:0-1 metadata.version=29-29 group.version=1-1"
				}
				if got != want {
					t.Errorf("features %q, want %q", got, want)
				}
			})
		})
	}
}

func TestUnknownApiVersionsIsAnsweredInVersion0(t *testing.T) {
	for _, version := range []int16{6, 7, 100, 32767, -1} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{}, routeFor(kmsg.Heartbeat, empty))
				c := b.connect()
				c.write(rawFrame(-1, 18, version, "\x00\x03abc\x00whatever the future brings"))
				resp := c.receive(apiVersionsRequest(0), 1).(*kmsg.ApiVersionsResponse)
				if resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 {
					t.Fatalf("answer %+v, want error 35 and one key", resp)
				}
				if k := resp.ApiKeys[0]; k.ApiKey != 18 || k.MinVersion != 0 || k.MaxVersion != 5 {
					t.Errorf("key %+v", k)
				}
				// The client asks again on the same connection.
				c.last = 1
				if resp := c.call(apiVersionsRequest(5)).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
					t.Errorf("error %d in version 5", resp.ErrorCode)
				}
			})
		})
	}
}

func TestApiVersionsJudgesTheClientSoftware(t *testing.T) {
	for _, test := range []struct {
		name, version string
		ok            bool
	}{
		{"franz-go", "1.22.2", true},
		{"a", "1", true},
		{"librdkafka", "2.12.0-3-g1234", true},
		{"", "1.0", false},
		{"x", "", false},
		{"-x", "1", false},
		{"x", "1.", false},
		{"x y", "1", false},
		{"x", "1_0", false},
		{"naïve", "1", false},
	} {
		t.Run(test.name+" "+test.version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var name, version string
				b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(ctx context.Context, r *Request) Reply {
					name, version = r.Conn.SoftwareName(), r.Conn.SoftwareVersion()
					return empty(ctx, r)
				}))
				c := b.connect()
				req := apiVersionsRequest(4)
				req.ClientSoftwareName, req.ClientSoftwareVersion = test.name, test.version
				resp := c.call(req).(*kmsg.ApiVersionsResponse)
				c.call(heartbeat(""))
				if test.ok && (resp.ErrorCode != 0 || name != test.name || version != test.version) {
					t.Errorf("error %d, known as %q %q", resp.ErrorCode, name, version)
				}
				if !test.ok && (resp.ErrorCode != 42 || len(resp.ApiKeys) > 0 || name != "" || version != "") {
					t.Errorf("error %d, %d keys, known as %q %q, want error 42 and nothing else",
						resp.ErrorCode, len(resp.ApiKeys), name, version)
				}
			})
		})
	}
}

// A client that knows whom it means to talk to finds out that it was led to another broker.
func TestMisroutedClientsAreSentBack(t *testing.T) {
	us := Identity{"us", 3}
	for _, test := range []struct {
		version int16
		cluster string // "": null
		node    int32
		us      Identity
		want    int16
	}{
		{5, "", -1, us, 0},
		{5, "us", 3, us, 0},
		{5, "them", 3, us, 129},
		{5, "us", 4, us, 129},
		{5, "them", 4, us, 129},
		{5, "us", -1, us, 42},
		{5, "", 3, us, 42},
		{4, "them", 4, us, 0}, // it cannot say so
		{5, "them", 4, Identity{}, 0},
	} {
		t.Run(fmt.Sprintf("v%d %q %d at %v", test.version, test.cluster, test.node, test.us), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{Identity: func() Identity { return test.us }}, routeFor(kmsg.Heartbeat, empty))
				req := apiVersionsRequest(test.version)
				if req.NodeID = test.node; test.cluster != "" {
					req.ClusterID = &test.cluster
				}
				resp := b.connect().call(req).(*kmsg.ApiVersionsResponse)
				if resp.ErrorCode != test.want || (len(resp.ApiKeys) == 0) != (test.want != 0) {
					t.Errorf("error %d, %d keys, want error %d", resp.ErrorCode, len(resp.ApiKeys), test.want)
				}
			})
		})
	}
}
