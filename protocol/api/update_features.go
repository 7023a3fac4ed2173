package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// UpdateFeatures, key 57, versions 0-2 (KIP-584, KIP-778).
//
// The levels of features are those of the program that runs: a request for the level that is in
// force succeeds, and any other is refused. The first refusal is the answer to all, in every
// version: updates are all made or none, and Kafka 4 names no feature then.

func (a *API) updateFeatures(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.UpdateFeaturesRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
		features := a.features().All
		for i := range req.FeatureUpdates {
			update := &req.FeatureUpdates[i]
			if err := checkLevel(features, update); err != nil {
				resp.ErrorCode, resp.ErrorMessage = refusal(err)
				resp.Results = nil
				break
			}
			if req.Version < 2 {
				rr := kmsg.NewUpdateFeaturesResponseResult()
				rr.Feature = update.Feature
				resp.Results = append(resp.Results, rr)
			}
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func checkLevel(features []protocol.Feature, update *kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	i := slices.IndexFunc(features, func(f protocol.Feature) bool { return f.Name == update.Feature })
	switch {
	case i < 0:
		return coded(kerr.InvalidUpdateVersion, "there is no feature %q", update.Feature)
	case update.MaxVersionLevel != features[i].Finalized:
		return coded(kerr.InvalidUpdateVersion, "feature %q is at level %d, which comes with the broker's version and cannot be changed to %d",
			update.Feature, features[i].Finalized, update.MaxVersionLevel)
	}
	return nil
}
