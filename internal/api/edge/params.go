package edge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"
)

// Query is a request's parameters.
type Query struct{ url.Values }

// QueryOf reads the parameters from the URL.
func QueryOf(r *http.Request) Query { return Query{r.URL.Query()} }

// Bool is true unless the parameter is absent, empty, 0, no, false or none.
func (q Query) Bool(name string) bool {
	switch strings.ToLower(strings.TrimSpace(q.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// BoolOr is Bool with another default for an absent parameter.
func (q Query) BoolOr(name string, def bool) bool {
	if !q.Has(name) {
		return def
	}
	return q.Bool(name)
}

// Int reads a whole number; absent or empty is def.
func (q Query) Int(name string, def int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, Invalid(fmt.Sprintf("invalid value for %s: %q is not a whole number", name, v))
	}
	return n, nil
}

// Size reads the height and width of a terminal, in characters.
func (q Query) Size() (height, width uint32, err error) {
	for _, p := range []struct {
		name string
		to   *uint32
	}{{"h", &height}, {"w", &width}} {
		n, err := strconv.ParseUint(q.Get(p.name), 10, 16)
		if err != nil {
			return 0, 0, Invalid(fmt.Sprintf("invalid resize %s: %q is not a number of characters", p.name, q.Get(p.name)))
		}
		*p.to = uint32(n)
	}
	return height, width, nil
}

// Time reads seconds since 1970 with up to nine decimals; absent, empty or 0 is the zero time.
func (q Query) Time(name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" || v == "0" {
		return time.Time{}, nil
	}
	whole, frac, _ := strings.Cut(v, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	var nano int64
	if err == nil && frac != "" {
		if len(frac) > 9 {
			frac = frac[:9]
		}
		nano, err = strconv.ParseInt(frac+strings.Repeat("0", 9-len(frac)), 10, 64)
	}
	if err != nil || nano < 0 {
		return time.Time{}, Invalid(fmt.Sprintf("invalid value for %s: %q is not a time in seconds since 1970", name, v))
	}
	return time.Unix(sec, nano), nil
}

// Filters reads the filters parameter; only the allowed keys may be in it.
func (q Query) Filters(allowed ...string) (filter.Args, error) {
	return filter.Parse(q.Get("filters"), allowed...)
}

// Platform reads os[/arch[/variant]]; absent is nil.
func (q Query) Platform(name string) (*ocispec.Platform, error) {
	v := q.Get(name)
	if v == "" {
		return nil, nil
	}
	p, err := platforms.Parse(v)
	if err != nil {
		return nil, Invalid("invalid platform: " + err.Error())
	}
	return &p, nil
}

// JSONPlatforms reads platforms given as JSON objects, one a parameter.
func (q Query) JSONPlatforms(name string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, v := range q.Values[name] {
		if v == "" {
			continue
		}
		var p ocispec.Platform
		if err := json.Unmarshal([]byte(v), &p); err != nil {
			return nil, Invalid(fmt.Sprintf("invalid %s: %v", name, err))
		}
		if p.OS == "" || p.Architecture == "" {
			return nil, Invalid(fmt.Sprintf("invalid %s: both OS and Architecture must be provided", name))
		}
		all = append(all, p)
	}
	return all, nil
}

// JSONPlatform is JSONPlatforms of at most one; absent is nil.
func (q Query) JSONPlatform(name string) (*ocispec.Platform, error) {
	all, err := q.JSONPlatforms(name)
	switch {
	case err != nil || len(all) == 0:
		return nil, err
	case len(all) > 1:
		return nil, Invalid(fmt.Sprintf("invalid %s: only one may be given", name))
	}
	return &all[0], nil
}

// maxAuth bounds the credentials header; identity tokens are a few KB.
const maxAuth = 64 << 10

// RegistryAuth reads the credentials of X-Registry-Auth: base64url of a JSON
// object. An absent or empty one is nil.
func RegistryAuth(r *http.Request) (*registry.AuthConfig, error) {
	v := strings.TrimRight(strings.TrimSpace(r.Header.Get(registry.AuthHeader)), "=")
	if v == "" {
		return nil, nil
	}
	if len(v) > maxAuth {
		return nil, Invalid(fmt.Sprintf("%s header is larger than %d bytes", registry.AuthHeader, maxAuth))
	}
	// Old clients use the standard alphabet.
	v = strings.NewReplacer("+", "-", "/", "_").Replace(v)
	raw, err := base64.RawURLEncoding.DecodeString(v)
	if err != nil {
		return nil, Invalid(registry.AuthHeader + " header is not base64")
	}
	var auth *registry.AuthConfig
	if err := json.Unmarshal(raw, &auth); err != nil {
		// The decoder's words could quote a secret.
		return nil, Invalid(registry.AuthHeader + " header does not hold a JSON object of credentials")
	}
	if auth != nil && *auth == (registry.AuthConfig{}) {
		return nil, nil
	}
	return auth, nil
}
