package protocol

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (key 18), v0 to v5.
//
// A client sends it first and does not know yet what the broker can read, so:
// the answer has a response header without tags in every version, and a version
// this broker does not know is answered in v0 with UNSUPPORTED_VERSION and the
// range of key 18, upon which the client asks again (KIP-511).
//
// From v5 on a client may say which broker of which cluster it means to talk to (KIP-1242). It is
// sent back to its bootstrap servers if that is another one, as when an address was given to
// another cluster.
const (
	apiVersionsKey = int16(kmsg.ApiVersions)
	apiVersionsMax = 5
)

// apiVersions answers ApiVersions from the routes.
type apiVersions struct {
	keys     []kmsg.ApiVersionsResponseApiKey // ascending
	features func() Features
	identity func() Identity
}

// add adds a route to what is advertised.
func (a *apiVersions) add(r Route) {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = r.Key, r.Min, r.Max
	at, _ := slices.BinarySearchFunc(a.keys, k, func(a, b kmsg.ApiVersionsResponseApiKey) int {
		return int(a.ApiKey) - int(b.ApiKey)
	})
	a.keys = slices.Insert(a.keys, at, k)
}

func (a *apiVersions) start(_ context.Context, r *Request) Reply {
	req := r.Message.(*kmsg.ApiVersionsRequest)
	err := a.judge(req)
	if err == nil && r.Version >= 3 {
		r.Conn.software.Store(&software{req.ClientSoftwareName, req.ClientSoftwareVersion})
	}
	return func(context.Context) (Answer, error) {
		resp := kmsg.NewPtrApiVersionsResponse()
		if err == nil {
			a.fill(resp, r.Version)
		} else {
			resp.ErrorCode = err.Code
		}
		return Answer{Message: resp}, nil
	}
}

// judge says what is wrong with a request, nil if nothing is.
func (a *apiVersions) judge(req *kmsg.ApiVersionsRequest) *kerr.Error {
	if req.Version >= 3 && !(validSoftware(req.ClientSoftwareName) && validSoftware(req.ClientSoftwareVersion)) {
		return kerr.InvalidRequest
	}
	if req.Version < 5 {
		return nil
	}
	switch us := a.identity(); {
	case (req.ClusterID == nil) != (req.NodeID == noNode):
		return kerr.InvalidRequest
	case req.ClusterID != nil && us != (Identity{}) && us != Identity{*req.ClusterID, req.NodeID}:
		return kerr.RebootstrapRequired
	}
	return nil
}

// noNode is the id of a broker that a client does not know.
const noNode = int32(-1)

// startUnsupported answers a version that is not known. The message is empty:
// its body could not be decoded.
func (a *apiVersions) startUnsupported(context.Context, *Request) Reply {
	return func(context.Context) (Answer, error) {
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		for _, k := range a.keys {
			if k.ApiKey == apiVersionsKey {
				resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{k}
			}
		}
		return Answer{Message: resp}, nil
	}
}

func (a *apiVersions) fill(resp *kmsg.ApiVersionsResponse, version int16) {
	resp.ApiKeys = a.keys
	if version < 3 {
		return
	}
	features := a.features()
	resp.FinalizedFeaturesEpoch = features.Epoch
	for _, f := range features.All {
		// Clients before v4 fail on a feature that can be off (KIP-1022).
		if f.Min > 0 || version >= 4 {
			s := kmsg.NewApiVersionsResponseSupportedFeature()
			s.Name, s.MinVersion, s.MaxVersion = f.Name, f.Min, f.Max
			resp.SupportedFeatures = append(resp.SupportedFeatures, s)
		}
		if f.Finalized > 0 {
			s := kmsg.NewApiVersionsResponseFinalizedFeature()
			s.Name, s.MinVersionLevel, s.MaxVersionLevel = f.Name, f.Finalized, f.Finalized
			resp.FinalizedFeatures = append(resp.FinalizedFeatures, s)
		}
	}
}

// validSoftware reports whether s may be a client's software name or version:
// letters and digits, and within them also '-' and '.'.
func validSoftware(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}
