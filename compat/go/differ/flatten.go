package main

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// symbols gives the values that a broker chooses, such as ids, the names they have in a comparison,
// by kind and value: the first id seen is the first on both sides.
type symbols map[string]map[string]string

// chosen are the fields whose value a broker chooses, and the values that mean there is none.
var chosen = map[string]string{
	"TopicID": "id", "MemberID": "member", "LeaderID": "member", "Leader": "member", "ProducerID": "producer",
	"CurrentProducerID": "producer", "SessionID": "session", "ClusterID": "cluster", "Port": "port", "DirectoryID": "directory",
	"LogDir": "directory", "Dir": "directory", "IncarnationID": "incarnation",
}

// ignored are fields that say nothing of how a request was taken.
var ignored = []string{"Version", "UnknownTags", "ThrottleMillis", "FinalizedFeaturesEpoch", "UsableBytes", "TotalBytes"}

// keys are the fields that tell the elements of a list apart, the first that an element has.
var keys = []string{
	"Topic", "TopicName", "TopicID", "Partition", "ResourceName", "ConfigName", "Group", "GroupID", "TransactionalID", "CoordinatorKey",
	"Key", "ProducerID", "MemberID", "NodeID", "BrokerID", "Dir", "Name", "ApiKey",
}

// flatten writes a response as lines of path and value. Lists are sorted, as most are in no order,
// but those that are said to be ordered.
func flatten(resp any, ordered bool, known symbols) []string {
	f := &flattener{known: known, ordered: ordered}
	f.value("", "", reflect.ValueOf(resp).Elem())
	return f.lines
}

type flattener struct {
	known   symbols
	ordered bool
	lines   []string
}

func (f *flattener) value(path, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		f.fields(path, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			f.add(path, bytesText(v))
			return
		}
		f.list(path, name, v)
	case reflect.Pointer:
		if v.IsNil() {
			f.add(path, "null")
			return
		}
		f.value(path, name, v.Elem())
	default:
		f.add(path, f.text(name, v))
	}
}

func (f *flattener) add(path, value string) { f.lines = append(f.lines, path+"="+value) }

func (f *flattener) fields(path string, v reflect.Value) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !slices.Contains(ignored, name) {
			f.value(strings.TrimPrefix(path+"."+name, "."), name, v.Field(i))
		}
	}
}

func (f *flattener) list(path, name string, v reflect.Value) {
	if v.IsNil() {
		f.add(path, "null")
		return
	}
	if v.Len() == 0 {
		f.add(path, "[]")
		return
	}
	if v.Type().Elem().Kind() != reflect.Struct {
		f.plain(path, name, v)
		return
	}
	var order []int
	named := make([]string, v.Len())
	for i := range named {
		if named[i] = f.key(v.Index(i)); !ourOwn(strings.Trim(named[i], `"`)) {
			order = append(order, i)
		}
	}
	if !f.ordered {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(named[a], named[b]) })
	}
	seen := map[string]int{}
	var all []string
	for _, i := range order {
		all = append(all, named[i])
	}
	f.add(path, "["+strings.Join(all, " ")+"]")
	for place, i := range order {
		key := named[i]
		if seen[key]++; seen[key] > 1 {
			key = fmt.Sprintf("%s#%d", key, seen[key])
		}
		if f.ordered {
			key = fmt.Sprintf("%d:%s", place, key)
		}
		f.value(path+"["+key+"]", name, v.Index(i))
	}
}

// plain writes a list of numbers or strings in one line.
func (f *flattener) plain(path, name string, v reflect.Value) {
	var texts []string
	for i := range v.Len() {
		texts = append(texts, f.text(name, v.Index(i)))
	}
	if !f.ordered {
		slices.Sort(texts)
	}
	f.add(path, "["+strings.Join(texts, " ")+"]")
}

// key is what tells an element apart.
func (f *flattener) key(v reflect.Value) string {
	for _, name := range keys {
		field := v.FieldByName(name)
		if !field.IsValid() || field.Kind() == reflect.Pointer && field.IsNil() || field.IsZero() && field.Kind() == reflect.Array {
			continue
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() != reflect.Slice && !(field.Kind() == reflect.String && field.String() == "" && name == "Topic") {
			return f.text(name, field)
		}
	}
	return ""
}

// text is the value of one field or element.
func (f *flattener) text(name string, v reflect.Value) string {
	kind := chosen[name]
	switch v.Kind() {
	case reflect.Int16:
		if name == "ErrorCode" || name == "PartitionErrorCode" || name == "AcknowledgeErrorCode" {
			return codeName(int16(v.Int()))
		}
	case reflect.String:
		switch {
		case (name == "ErrorMessage" || name == "AcknowledgeErrorMessage") && v.String() == "":
			return "null" // to no client is that a difference
		case (name == "ErrorMessage" || name == "AcknowledgeErrorMessage") && v.String() == "NONE":
			return "null" // what Kafka says where nothing is wrong
		case name == "ErrorMessage" || name == "AcknowledgeErrorMessage":
			return "(a message)"
		case kind != "" && v.String() != "":
			return f.symbol(kind, v.String())
		}
		return fmt.Sprintf("%q", v.String())
	case reflect.Array:
		if v.IsZero() {
			return "no " + cmp.Or(kind, "id")
		}
		return f.symbol(cmp.Or(kind, "id"), fmt.Sprint(v.Interface()))
	}
	if (v.CanInt() || v.CanUint()) && kind != "" && kind != "member" && !v.IsZero() && fmt.Sprint(v.Interface()) != "-1" {
		return f.symbol(kind, fmt.Sprint(v.Interface()))
	}
	if v.Kind() == reflect.Int64 && v.Int() > 1_500_000_000_000 && v.Int() < 3_000_000_000_000 {
		return "(a time)"
	}
	return fmt.Sprint(v.Interface())
}

func (f *flattener) symbol(kind, value string) string {
	values := f.known[kind]
	if values == nil {
		values = map[string]string{}
		f.known[kind] = values
	}
	if values[value] == "" {
		values[value] = fmt.Sprintf("%s %d", kind, len(values)+1)
	}
	return values[value]
}

func codeName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if e := kerr.TypedErrorForCode(code); e != nil && e.Code == code {
		return e.Message
	}
	return fmt.Sprint(code)
}

// bytesText says how long bytes are: they are those of records, or come from a client.
func bytesText(v reflect.Value) string {
	if v.IsNil() {
		return "null"
	}
	return fmt.Sprintf("%d bytes", v.Len())
}
