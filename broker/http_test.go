package broker

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

// apiDocument is what of docs/openapi.yaml is held against the routes.
type apiDocument struct {
	OpenAPI    string                               `yaml:"openapi"`
	Paths      map[string]map[string]any            `yaml:"paths"`
	Components map[string]map[string]map[string]any `yaml:"components"`
}

func readDocument(t *testing.T) (doc apiDocument, all any) {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return doc, all
}

func TestEveryRouteIsDocumentedAndEveryDocumentedRouteIsServed(t *testing.T) {
	doc, _ := readDocument(t)
	var documented, served []string
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	b := &broker{registry: prometheus.NewRegistry(), logger: slog.New(slog.DiscardHandler)}
	for _, r := range b.routes() {
		served = append(served, r.Method+" "+strings.TrimSuffix(r.Path, "{$}"))
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("docs/openapi.yaml describes\n%s\nserved is\n%s", strings.Join(documented, "\n"), strings.Join(served, "\n"))
	}
}

func TestAPIDocumentIsSound(t *testing.T) {
	doc, all := readDocument(t)
	if !strings.HasPrefix(doc.OpenAPI, "3.0.") {
		t.Errorf("openapi is %q", doc.OpenAPI)
	}
	used := map[string]bool{}
	eachReference(all, func(ref string) {
		used[ref] = true
		part := strings.Split(ref, "/") // "#/components/<kind>/<name>"
		if len(part) != 4 || doc.Components[part[2]][part[3]] == nil {
			t.Errorf("%s does not exist", ref)
		}
	})
	for kind, components := range doc.Components {
		for name := range components {
			if !used["#/components/"+kind+"/"+name] {
				t.Errorf("nothing uses %s %s", kind, name)
			}
		}
	}
	operations := map[any]bool{}
	for path, item := range doc.Paths {
		for method, v := range item {
			op, ok := v.(map[string]any)
			if !ok {
				continue // the parameters of all methods
			}
			if op["responses"] == nil || op["summary"] == nil || op["operationId"] == nil || operations[op["operationId"]] {
				t.Errorf("%s %s lacks responses, a summary or an operationId of its own", method, path)
			}
			operations[op["operationId"]] = true
		}
		if declared, _ := item["parameters"].([]any); len(declared) != strings.Count(path, "{") {
			t.Errorf("%s declares %d parameters", path, len(declared))
		}
	}
}

// eachReference calls yield for every $ref of a document.
func eachReference(v any, yield func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if ref, ok := child.(string); ok && name == "$ref" {
				yield(ref)
			}
			eachReference(child, yield)
		}
	case []any:
		for _, child := range v {
			eachReference(child, yield)
		}
	}
}
