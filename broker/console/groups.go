package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/morrowmq/morrow/broker/inflight"
)

// groupsPage lists groups.
type groupsPage struct {
	Groups window[Group]
	Find   string
	All    int
}

func (c *Console) groups(w http.ResponseWriter, r *http.Request) {
	all := c.Broker.Groups()
	body := groupsPage{Find: r.URL.Query().Get("find"), All: len(all)}
	var found []Group
	for _, g := range all {
		if strings.Contains(g.ID, body.Find) {
			found = append(found, g)
		}
	}
	body.Groups = part(r, "skip", found)
	c.show(w, r, http.StatusOK, "groups", page{Title: "Groups", Section: "groups", Live: true, Body: body})
}

// groupPage is all of a group.
type groupPage struct {
	Group
	// Share says that it is a share group.
	Share       bool
	Members     window[Member]
	Positions   window[Position]
	InFlight    window[inflight.Partition]
	InFlightErr string
}

// group shows the group that the query names: an id may be anything, also what is no part of a path.
func (c *Console) group(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	id := r.URL.Query().Get("id")
	g, err := c.Broker.Group(ctx, id)
	switch {
	case err != nil:
		c.refuse(w, r, http.StatusServiceUnavailable, "Group "+text(id)+" cannot be described: "+why(err))
		return
	case g == nil:
		c.refuse(w, r, http.StatusNotFound, "This broker knows no group "+text(id)+".")
		return
	}
	body := groupPage{Group: g.Group, Share: g.Protocol == "share", Members: part(r, "members", g.List), Positions: part(r, "positions", g.Positions)}
	if body.Share {
		parts, err := c.Shares.List(id)
		if err != nil {
			body.InFlightErr = err.Error()
		}
		body.InFlight = part(r, "parts", parts)
	}
	c.show(w, r, http.StatusOK, "group", page{Title: text(id), Section: "groups", Live: true, Body: body})
}

// groupPath is where a group is shown.
func groupPath(id string) string { return Root + "group?" + url.Values{"id": {id}}.Encode() }
