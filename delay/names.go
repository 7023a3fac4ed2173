package delay

// names finds pending entries by the key their producer gave them.
type names struct {
	entries map[string]Entry
	// of is the reverse.
	of    map[int64]string
	bytes int64
}

func (n *names) add(name string, e Entry) {
	if n.entries == nil {
		n.entries = make(map[string]Entry)
		n.of = make(map[int64]string)
	}
	n.entries[name] = e
	n.of[e.Ticket] = name
	n.bytes += int64(len(name))
}

// remove forgets a ticket and returns its name.
func (n *names) remove(ticket int64) string {
	name, ok := n.of[ticket]
	if !ok {
		return ""
	}
	delete(n.of, ticket)
	n.bytes -= int64(len(name))
	// The name may be another's by now.
	if n.entries[name].Ticket == ticket {
		delete(n.entries, name)
	}
	return name
}

func (n *names) forgetBelow(ticket int64) {
	for t := range n.of {
		if t < ticket {
			n.remove(t)
		}
	}
}
