// Package filter reads the filters parameter of the Docker API: a JSON object
// from key to values, in both of its historic forms.
package filter

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// maxBytes bounds the parameter; a URL longer than this never arrives from a real client.
const maxBytes = 1 << 20

// Args maps a filter's key to the values asked for. Values of one key are
// alternatives; keys are joined by and. A nil Args matches everything.
type Args map[string][]string

// Parse reads the parameter as sent: {"key":["value"]} or, from old and from
// current clients, {"key":{"value":true}}. A key not in allowed is
// errdefs.ErrInvalidArgument and is named.
func Parse(raw string, allowed ...string) (Args, error) {
	if raw == "" {
		return nil, nil
	}
	if len(raw) > maxBytes {
		return nil, fmt.Errorf("filters: %d bytes, more than %d: %w", len(raw), maxBytes, errdefs.ErrInvalidArgument)
	}
	args := Args{}
	var byKey map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &byKey); err != nil {
		return nil, fmt.Errorf("filters: not a JSON object: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	for key, value := range byKey {
		if !slices.Contains(allowed, key) {
			return nil, fmt.Errorf("invalid filter %q (allowed: %s): %w", key, strings.Join(allowed, ", "), errdefs.ErrInvalidArgument)
		}
		var list []string
		var set map[string]bool
		switch {
		case json.Unmarshal(value, &list) == nil:
		case json.Unmarshal(value, &set) == nil:
			for v, on := range set {
				if on {
					list = append(list, v)
				}
			}
			slices.Sort(list)
		default:
			return nil, fmt.Errorf("filters: %q must be a list of strings: %w", key, errdefs.ErrInvalidArgument)
		}
		if len(list) > 0 {
			args[key] = list
		}
	}
	return args, nil
}

// Has says whether any value is asked for under key.
func (a Args) Has(key string) bool { return len(a[key]) > 0 }

// Match says whether key is not asked for, or has exactly value.
func (a Args) Match(key, value string) bool {
	return !a.Has(key) || slices.Contains(a[key], value)
}

// MatchFunc says whether key is not asked for, or one of its values satisfies ok.
func (a Args) MatchFunc(key string, ok func(value string) bool) bool {
	return !a.Has(key) || slices.ContainsFunc(a[key], ok)
}

// MatchPattern is Match where a value may also be a part of, or a regular
// expression found in, the candidate, as for names.
func (a Args) MatchPattern(key, candidate string) bool {
	return a.MatchFunc(key, func(v string) bool {
		if v == candidate || strings.Contains(candidate, v) {
			return true
		}
		re, err := regexp.Compile(v)
		return err == nil && re.MatchString(candidate)
	})
}

// MatchLabels says whether every value under key ("name" or "name=value") holds of labels.
func (a Args) MatchLabels(key string, labels map[string]string) bool {
	for _, want := range a[key] {
		name, value, hasValue := strings.Cut(want, "=")
		got, ok := labels[name]
		if !ok || (hasValue && got != value) {
			return false
		}
	}
	return true
}

// Bool reads a filter that is a truth value; absent is def.
func (a Args) Bool(key string, def bool) (bool, error) {
	if !a.Has(key) {
		return def, nil
	}
	if len(a[key]) == 1 {
		switch a[key][0] {
		case "1", "true", "True", "TRUE", "t":
			return true, nil
		case "0", "false", "False", "FALSE", "f":
			return false, nil
		}
	}
	return def, fmt.Errorf("invalid filter '%s=%v': must be true or false: %w", key, a[key], errdefs.ErrInvalidArgument)
}
