package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"mime"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// apiDocument is docs/openapi.yaml.
type apiDocument struct{ root map[string]any }

func readAPIDocument(t *testing.T) apiDocument {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d apiDocument
	if err := yaml.Unmarshal(text, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// follow replaces a reference by what it refers to.
func (d apiDocument) follow(v any) map[string]any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	at := d.root
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at, _ = at[part].(map[string]any)
	}
	return d.follow(at)
}

// operation is one method of one path.
type operation struct {
	method, path string
	query        []string // names of its query parameters
	answers      map[string]any
}

// operations returns all of them by operationId.
func (d apiDocument) operations() map[string]operation {
	all := map[string]operation{}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, v := range item.(map[string]any) {
			op, ok := v.(map[string]any)
			if !ok || method == "parameters" {
				continue
			}
			described := operation{strings.ToUpper(method), path, nil, op["responses"].(map[string]any)}
			parameters, _ := op["parameters"].([]any)
			for _, p := range parameters {
				if p := d.follow(p); p["in"] == "query" {
					described.query = append(described.query, p["name"].(string))
				}
			}
			all[op["operationId"].(string)] = described
		}
	}
	return all
}

// check compares an answer with what is documented for its status.
func (d apiDocument) check(op operation, status int, contentType string, body []byte) error {
	documented, ok := op.answers[fmt.Sprint(status)]
	if !ok && status >= 400 {
		documented, ok = op.answers["default"]
	}
	if !ok {
		return fmt.Errorf("status %d is not documented", status)
	}
	contents, _ := d.follow(documented)["content"].(map[string]any)
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	content, ok := contents[kind].(map[string]any)
	if !ok {
		return fmt.Errorf("content type %s is not documented, %v is", kind, slices.Sorted(maps.Keys(contents)))
	}
	if kind != "application/json" {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return d.validate(d.follow(content["schema"]), v, "answer")
}

// validate holds a value against a schema: as much of JSON Schema as the document uses. Properties
// that are not documented are refused.
func (d apiDocument) validate(schema map[string]any, v any, at string) error {
	schema = d.merged(schema)
	if v == nil && schema["nullable"] == true {
		return nil
	}
	if choices, ok := schema["oneOf"].([]any); ok {
		var err error
		for _, one := range choices {
			if err = d.validate(d.follow(one), v, at); err == nil {
				return nil
			}
		}
		return err
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s is %v, expected one of %v", at, v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		return d.validateObject(schema, v, at)
	case []any:
		if schema["type"] != "array" {
			break
		}
		for i, x := range v {
			if err := d.validate(d.follow(schema["items"]), x, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	default:
		if isA(schema, v) {
			return nil
		}
	}
	return fmt.Errorf("%s is %T %v, expected %v %v", at, v, v, schema["type"], schema["format"])
}

// merged is a schema whose allOf, of objects, is one object.
func (d apiDocument) merged(schema map[string]any) map[string]any {
	all, ok := schema["allOf"].([]any)
	if !ok {
		return schema
	}
	properties, required := map[string]any{}, []any{}
	for _, part := range all {
		one := d.merged(d.follow(part))
		p, _ := one["properties"].(map[string]any)
		maps.Copy(properties, p)
		r, _ := one["required"].([]any)
		required = append(required, r...)
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func (d apiDocument) validateObject(schema, v map[string]any, at string) error {
	if schema["type"] != "object" {
		return fmt.Errorf("%s is an object, expected %v", at, schema["type"])
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s has no %s", at, name)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, x := range v {
		p, ok := properties[name]
		if !ok {
			if p, ok = schema["additionalProperties"]; !ok {
				return fmt.Errorf("%s.%s is not documented", at, name)
			}
		}
		if err := d.validate(d.follow(p), x, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// isA reports whether a value that is neither object nor list has the type and format of a schema.
func isA(schema map[string]any, v any) bool {
	switch v := v.(type) {
	case string:
		if schema["format"] == "date-time" {
			_, err := time.Parse(time.RFC3339, v)
			return err == nil
		}
		return schema["type"] == "string"
	case bool:
		return schema["type"] == "boolean"
	case float64:
		whole := v == math.Trunc(v) && (schema["format"] != "int32" || math.Abs(v) <= math.MaxInt32)
		return schema["type"] == "number" || schema["type"] == "integer" && whole
	}
	return false
}

func TestSchemasAreTakenAtTheirWord(t *testing.T) {
	d := readAPIDocument(t)
	schema := map[string]any{}
	if err := yaml.Unmarshal([]byte(`
type: object
required: [name]
properties:
  name: {type: string, enum: [a, b]}
  n: {type: integer, format: int32}
  at: {$ref: "#/components/schemas/Time"}
  list: {type: array, items: {type: number}}
`), &schema); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"name":"a","n":1,"at":5,"list":[1.5]}`:   "",
		`{"name":"a","at":"2026-01-01T00:00:00Z"}`: "",
		`{"n":1}`:                       "answer has no name",
		`{"name":"c"}`:                  "answer.name is c, expected one of [a b]",
		`{"name":"a","n":1.5}`:          "answer.n is float64 1.5, expected integer int32",
		`{"name":"a","n":3000000000}`:   "answer.n is float64 3e+09, expected integer int32",
		`{"name":"a","at":"yesterday"}`: "answer.at is string yesterday, expected string date-time",
		`{"name":"a","list":[1,"x"]}`:   "answer.list[1] is string x, expected number <nil>",
		`{"name":"a","list":{}}`:        "answer.list is an object, expected array",
		`{"name":"a","more":1}`:         "answer.more is not documented",
	} {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := d.validate(schema, v, "answer"); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
