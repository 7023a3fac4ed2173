package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/cluster/config"
)

// configDoc is what is known of a config, whatever its value.
type configDoc struct {
	Scope   string   `json:"scope"` // topic, group or broker
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Default *string  `json:"default"` // null if it is unset
	Expects string   `json:"expects"` // what a value must be; "" if any will do
	Dynamic bool     `json:"dynamic"` // it can change at run time
	Follows []string `json:"follows"` // broker configs that hold while it is not set, the first one that is set
	Doc     string   `json:"doc"`
}

func newConfigDocs(c *client) *cobra.Command {
	return &cobra.Command{
		Use:     "docs [CONFIG...]",
		Aliases: []string{"explain"},
		Short:   "Explain all configs, or the given ones",
		Long: `Explain all configs, or the given ones: what they mean, their type and default, what a
value must be, and whether they change at run time. All of them together are docs/CONFIG.md.
No broker is asked.

With -o json: an array of {scope, name, type, default, expects, dynamic, follows, doc}.`,
		Example: `  morrow config docs
  morrow config docs retention.ms log.dir
  morrow config docs -o json | jq -r '.[] | select(.dynamic | not).name'`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) (names []string, directive cobra.ShellCompDirective) {
			for _, s := range configScopes {
				var found []string
				found, directive = completeKey(s)(cmd, args, prefix)
				names = append(names, found...)
			}
			return names, directive
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			docs := configDocs()
			for _, name := range args {
				if !slices.ContainsFunc(docs, func(d configDoc) bool { return d.Name == name }) {
					return fmt.Errorf("there is no config %s", name)
				}
			}
			if len(args) > 0 {
				docs = slices.DeleteFunc(docs, func(d configDoc) bool { return !slices.Contains(args, d.Name) })
			}
			if c.output == "json" {
				return printAs(cmd.OutOrStdout(), c.output, docs, nil)
			}
			if len(args) == 0 {
				_, err := io.WriteString(cmd.OutOrStdout(), configMarkdown(docs))
				return err
			}
			printDocs(cmd.OutOrStdout(), docs)
			return nil
		},
	}
}

// configDocs are all configs: of topics, groups and brokers, each by name.
func configDocs() []configDoc {
	docs := []configDoc{}
	for _, s := range configScopes {
		for _, d := range s.defs() {
			if d.Internal {
				continue
			}
			doc := configDoc{
				Scope: s.name, Name: d.Name, Type: d.Type.String(), Expects: d.Expects(),
				Dynamic: s != brokerScope || d.Mode != config.ReadOnly, Follows: []string{}, Doc: d.Doc,
			}
			if !d.Null {
				doc.Default = &d.Default
			}
			for _, syn := range d.Synonyms {
				if s != brokerScope || syn.Name != d.Name {
					doc.Follows = append(doc.Follows, syn.Name)
				}
			}
			docs = append(docs, doc)
		}
	}
	return docs
}

// facts are the properties of a config, in words.
func (d configDoc) facts() []string {
	facts := []string{"type " + d.Type}
	switch {
	case d.Default == nil:
		facts = append(facts, "no default")
	case *d.Default == "":
		facts = append(facts, "default empty")
	default:
		facts = append(facts, "default `"+*d.Default+"`")
	}
	if not, ok := strings.CutPrefix(d.Expects, "not "); ok {
		facts = append(facts, "must not be "+not)
	} else if d.Expects != "" {
		facts = append(facts, "must be "+d.Expects)
	}
	if len(d.Follows) > 0 {
		facts = append(facts, "while unset follows `"+strings.Join(d.Follows, "`, `")+"` of the broker")
	}
	if d.Scope == brokerScope.name {
		changes := "changes at a restart"
		if d.Dynamic {
			changes = "changes at run time"
		}
		facts = append(facts, changes)
	}
	return facts
}

func printDocs(w io.Writer, docs []configDoc) {
	for i, d := range docs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s config %s\n", d.Scope, d.Name)
		for _, f := range d.facts() {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(f, "`", ""))
		}
		fmt.Fprintf(w, "\n%s\n", wrap(d.Doc, 80, "  "))
	}
}

// configIntro begins docs/CONFIG.md.
const configIntro = `# Configuration

Written by ` + "`morrow config docs`" + `; a test keeps it so.

Names, types and meanings are Kafka's where Kafka has the config; defaults are too, except where it says otherwise.

- **Topic configs** are set when a topic is created (` + "`morrow topic create --set KEY=VALUE`" + `) and changed at any time
  (` + "`morrow config set topic NAME KEY=VALUE`" + `, or any Kafka client). What is not set on the topic follows the broker.
  The broker's own topics (` + "`__consumer_offsets`" + ` and its like) keep the policy and retention that what they hold depends on.
- **Group configs** are those of consumer groups of the newer protocol (KIP-848):
  ` + "`morrow config set group NAME KEY=VALUE`" + `.
- **Broker configs** are read at start: from flags (` + "`--set KEY=VALUE`" + `, and those of ` + "`morrow serve --help`" + `), the environment
  (` + "`MORROW_`" + ` and the name in capitals, with ` + "`_`" + ` for ` + "`.`" + ` and ` + "`-`" + `: ` + "`MORROW_LOG_RETENTION_HOURS`" + `), and a YAML, JSON, TOML or properties file
  (` + "`--config`" + `). The first of these that has it wins. Those that change at run time can also be set with
  ` + "`morrow config set broker [ID] KEY=VALUE`" + `, which wins over all of them.

A config that is unknown, or a value that is refused, keeps the broker from starting.
`

// configMarkdown is docs/CONFIG.md.
func configMarkdown(docs []configDoc) string {
	var b strings.Builder
	b.WriteString(configIntro)
	scope := ""
	for _, d := range docs {
		if d.Scope != scope {
			scope = d.Scope
			fmt.Fprintf(&b, "\n## %s%s configs\n", strings.ToUpper(scope[:1]), scope[1:])
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n*%s*\n", d.Name, d.Doc, strings.Join(d.facts(), " · "))
	}
	return b.String()
}

// wrap breaks a text into lines of at most width characters, each indented.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := width
	for word := range strings.FieldsSeq(text) {
		if column+1+len(word) > width {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(indent)
			column = len(indent)
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
