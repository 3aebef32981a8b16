// Package value holds the types of flag values, and the checks of single values,
// that verbs share.
package value

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// List is a flag that may be given many times. Check, where set, refuses a value
// or rewrites it.
type List struct {
	Values []string
	Check  func(string) (string, error)
	kind   string
}

// Set adds one value.
func (l *List) Set(value string) error {
	if l.Check != nil {
		var err error
		if value, err = l.Check(value); err != nil {
			return err
		}
	}
	l.Values = append(l.Values, value)
	return nil
}

// String is what help shows as the default: nothing.
func (l *List) String() string {
	if len(l.Values) == 0 {
		return ""
	}
	return fmt.Sprint(l.Values)
}

// Type names the value in help texts.
func (l *List) Type() string {
	if l.kind != "" {
		return l.kind
	}
	return "list"
}

// Map is a flag of key=value pairs that may be given many times.
type Map struct {
	Values map[string]string
	Check  func(string) (string, error)
}

// Set adds one pair. A key without "=" has an empty value.
func (m *Map) Set(value string) error {
	if m.Check != nil {
		var err error
		if value, err = m.Check(value); err != nil {
			return err
		}
	}
	key, val, _ := strings.Cut(value, "=")
	if m.Values == nil {
		m.Values = map[string]string{}
	}
	m.Values[key] = val
	return nil
}

func (m *Map) String() string {
	if len(m.Values) == 0 {
		return ""
	}
	pairs := make([]string, 0, len(m.Values))
	for _, key := range slices.Sorted(maps.Keys(m.Values)) {
		pairs = append(pairs, key+"="+m.Values[key])
	}
	return strings.Join(pairs, ",")
}

// Type names the value in help texts.
func (m *Map) Type() string { return "map" }

// Bytes is a size: a number with an optional unit, b, k, m, g.
type Bytes struct {
	Value int64
	// Unlimited accepts -1.
	Unlimited bool
}

// Set parses the size.
func (b *Bytes) Set(value string) error {
	if b.Unlimited && value == "-1" {
		b.Value = -1
		return nil
	}
	size, err := units.RAMInBytes(value)
	if err != nil {
		return err
	}
	b.Value = size
	return nil
}

func (b *Bytes) String() string {
	switch b.Value {
	case 0:
		return ""
	case -1:
		return "-1"
	}
	return units.BytesSize(float64(b.Value))
}

// Type names the value in help texts.
func (b *Bytes) Type() string { return "bytes" }

// CPUs is a number of processors in units of a billionth.
type CPUs int64

// Set parses a decimal number, at most nine places.
func (c *CPUs) Set(value string) error {
	if len(value) > 64 || strings.ContainsAny(value, "eE") {
		return fmt.Errorf("failed to parse %v as a rational number", value)
	}
	cpu, ok := new(big.Rat).SetString(value)
	if !ok {
		return fmt.Errorf("failed to parse %v as a rational number", value)
	}
	nano := cpu.Mul(cpu, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return fmt.Errorf("value is too precise")
	}
	if !nano.Num().IsInt64() {
		return fmt.Errorf("value is out of range")
	}
	*c = CPUs(nano.Num().Int64())
	return nil
}

func (c *CPUs) String() string {
	if *c == 0 {
		return ""
	}
	return big.NewRat(int64(*c), 1e9).FloatString(3)
}

// Type names the value in help texts.
func (c *CPUs) Type() string { return "decimal" }

// Ulimits are resource limits by name: name=soft[:hard].
type Ulimits map[string]*units.Ulimit

// Set adds one limit; the last of a name counts.
func (u *Ulimits) Set(value string) error {
	limit, err := units.ParseUlimit(value)
	if err != nil {
		return err
	}
	if *u == nil {
		*u = Ulimits{}
	}
	(*u)[limit.Name] = limit
	return nil
}

func (u *Ulimits) String() string {
	if len(*u) == 0 {
		return ""
	}
	return fmt.Sprint(u.Sorted())
}

// Type names the value in help texts.
func (u *Ulimits) Type() string { return "ulimit" }

// Sorted returns the limits ordered by name.
func (u *Ulimits) Sorted() []*units.Ulimit {
	var limits []*units.Ulimit
	for _, name := range slices.Sorted(maps.Keys(*u)) {
		limits = append(limits, (*u)[name])
	}
	return limits
}
