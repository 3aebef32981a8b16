package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// Bytes is a size: a number, or a string with a unit ("64M").
type Bytes int64

// UnmarshalJSON takes both forms.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return b.UnmarshalText([]byte(text))
	}
	return json.Unmarshal(raw, (*int64)(b))
}

// UnmarshalText takes a number with or without a unit.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := units.RAMInBytes(string(text))
	if err != nil {
		return err
	}
	*b = Bytes(n)
	return nil
}

// MarshalText writes the number; what is left open is nothing.
func (b Bytes) MarshalText() ([]byte, error) {
	if b < 0 {
		return nil, nil
	}
	return strconv.AppendInt(nil, int64(b), 10), nil
}

// value makes a flag of a place in the configuration.
type value struct {
	set    func(text string) error
	show   func() string
	typeOf string
}

func (v *value) Set(text string) error { return v.set(text) }
func (v *value) Type() string          { return v.typeOf }

func (v *value) String() string {
	if v == nil || v.show == nil {
		return ""
	}
	return v.show()
}

func flagValue(at any) pflag.Value {
	switch p := at.(type) {
	case *string:
		return &value{func(s string) error { *p = s; return nil }, func() string { return *p }, "string"}
	case *bool:
		return &value{func(s string) (err error) { *p, err = strconv.ParseBool(s); return err }, func() string { return strconv.FormatBool(*p) }, "bool"}
	case *int:
		return &value{func(s string) (err error) { *p, err = strconv.Atoi(s); return err }, func() string { return strconv.Itoa(*p) }, "int"}
	case *[]string:
		return &value{func(s string) error { *p = append(*p, s); return nil }, nil, "list"}
	case *[]netip.Addr:
		return &value{func(s string) error {
			a, err := netip.ParseAddr(s)
			*p = append(*p, a)
			return err
		}, nil, "list"}
	case *map[string]string:
		return &value{func(s string) error { return addPair(p, s) }, nil, "map"}
	case *map[string]Runtime:
		return &value{func(s string) error { return addRuntime(p, s) }, nil, "runtime"}
	case *map[string]*container.Ulimit:
		return &value{func(s string) error { return addUlimit(p, s) }, nil, "ulimit"}
	case interface {
		encoding.TextUnmarshaler
		encoding.TextMarshaler
	}:
		return &value{func(s string) error { return p.UnmarshalText([]byte(s)) }, func() string {
			text, err := p.MarshalText()
			if err != nil {
				return ""
			}
			return string(text)
		}, "string"}
	default:
		panic(fmt.Sprintf("config: no flag can be made of a %T", at))
	}
}

func addPair(to *map[string]string, text string) error {
	k, v, ok := strings.Cut(text, "=")
	if !ok || k == "" {
		return fmt.Errorf("%q must be KEY=VALUE", text)
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[k] = v
	return nil
}

func addRuntime(to *map[string]Runtime, text string) error {
	name, path, ok := strings.Cut(text, "=")
	if !ok || name == "" || path == "" {
		return fmt.Errorf("%q must be NAME=PATH", text)
	}
	if *to == nil {
		*to = map[string]Runtime{}
	}
	if _, twice := (*to)[name]; twice {
		return fmt.Errorf("runtime '%s' was already defined", name)
	}
	(*to)[name] = Runtime{Path: path}
	return nil
}

func addUlimit(to *map[string]*container.Ulimit, text string) error {
	u, err := units.ParseUlimit(text)
	if err != nil {
		return err
	}
	if *to == nil {
		*to = map[string]*container.Ulimit{}
	}
	(*to)[u.Name] = u
	return nil
}

// same says whether two places hold the same.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// assign copies what b points to.
func assign(a, b any) { reflect.ValueOf(a).Elem().Set(reflect.ValueOf(b).Elem()) }
