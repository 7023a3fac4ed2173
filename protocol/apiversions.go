package protocol

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (key 18), v0 to v4.
//
// A client sends it first and does not know yet what the broker can read, so:
// the answer has a response header without tags in every version, and a version
// this broker does not know is answered in v0 with UNSUPPORTED_VERSION and the
// range of key 18, upon which the client asks again (KIP-511).
const (
	apiVersionsKey = int16(kmsg.ApiVersions)
	apiVersionsMax = 4
)

// apiVersions answers ApiVersions from the routes.
type apiVersions struct {
	keys     []kmsg.ApiVersionsResponseApiKey // ascending
	features func() Features
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
	valid := true
	if r.Version >= 3 {
		valid = validSoftware(req.ClientSoftwareName) && validSoftware(req.ClientSoftwareVersion)
	}
	if valid && r.Version >= 3 {
		r.Conn.software.Store(&software{req.ClientSoftwareName, req.ClientSoftwareVersion})
	}
	return func(context.Context) (Answer, error) {
		resp := kmsg.NewPtrApiVersionsResponse()
		if valid {
			a.fill(resp, r.Version)
		} else {
			resp.ErrorCode = kerr.InvalidRequest.Code
		}
		return Answer{Message: resp}, nil
	}
}

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
