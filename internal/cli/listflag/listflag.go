// Package listflag has the options that verbs which list, watch and prune share:
// --filter and --format.
package listflag

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/pflag"
)

// Format registers --format, as templates or JSON, with a shorthand unless that is empty.
func Format(flags *pflag.FlagSet, into *string, short string, table bool) {
	usage := "Format output using a custom template:\n"
	if table {
		usage += "'table':            Print output in table format with column headers (default)\n" +
			"'table TEMPLATE':   Print output in table format using the given Go template\n"
	}
	usage += "'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template"
	flags.StringVarP(into, "format", short, "", usage)
}

// Quiet says whether --quiet shapes the list: a format of its own wins over it.
func Quiet(quiet bool, layout string) bool {
	return quiet && (layout == "" || layout == "table")
}

// Value collects key=value conditions. The zero Value has none.
type Value struct{ filters client.Filters }

var _ pflag.Value = (*Value)(nil)

// Filter registers --filter, with a shorthand unless that is empty, and gives its value.
func Filter(flags *pflag.FlagSet, short, usage string) *Value {
	v := &Value{}
	flags.VarP(v, "filter", short, usage)
	return v
}

// Set adds one condition, as typed.
func (v *Value) Set(typed string) error {
	if typed == "" {
		return nil
	}
	key, value, ok := strings.Cut(typed, "=")
	if !ok {
		return fmt.Errorf("invalid argument %q: filters are of the form name=value", typed)
	}
	if v.filters == nil {
		v.filters = client.Filters{}
	}
	v.filters.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
	return nil
}

// String is empty, which is the default that help shows.
func (v *Value) String() string { return "" }

// Type is the name of the value in help.
func (v *Value) Type() string { return "filter" }

// Filters gives a copy of the conditions to add to and to send.
func (v *Value) Filters() client.Filters {
	if v.filters == nil {
		return client.Filters{}
	}
	return v.filters.Clone()
}

// Has says whether there is a condition of that key.
func (v *Value) Has(key string) bool { return len(v.filters[key]) > 0 }

// All lists the conditions as key=value, sorted.
func (v *Value) All() []string {
	var all []string
	for key, values := range v.filters {
		for value := range values {
			all = append(all, key+"="+value)
		}
	}
	slices.Sort(all)
	return all
}
