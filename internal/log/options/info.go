package options

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// Info is what a tag's template and the attributes of a log are made of; names
// and methods are Docker's, as templates name them.
type Info struct {
	Config              map[string]string
	ContainerID         string
	ContainerName       string
	ContainerEntrypoint string
	ContainerArgs       []string
	ContainerImageID    string
	ContainerImageName  string
	ContainerCreated    time.Time
	ContainerEnv        []string
	ContainerLabels     map[string]string
	LogPath             string
	// DaemonName is "docker": what reads logs is set up for that name.
	DaemonName string
}

func short(id string) string { return id[:min(len(id), 12)] }

// ID is the container's, shortened.
func (i *Info) ID() string { return short(i.ContainerID) }

// FullID is the container's.
func (i *Info) FullID() string { return i.ContainerID }

// Name is the container's, without a slash.
func (i *Info) Name() string { return strings.TrimPrefix(i.ContainerName, "/") }

// ImageID is shortened as Docker does it, the digest's algorithm included.
func (i *Info) ImageID() string { return short(i.ContainerImageID) }

// ImageFullID is the image's digest.
func (i *Info) ImageFullID() string { return i.ContainerImageID }

// ImageName is the image's name as the person wrote it.
func (i *Info) ImageName() string { return i.ContainerImageName }

// Command is what the container runs.
func (i *Info) Command() string {
	return strings.Join(append([]string{i.ContainerEntrypoint}, i.ContainerArgs...), " ")
}

// Hostname is the host's.
func (i *Info) Hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("logger: can not resolve hostname: %w", err)
	}
	return name, nil
}

// ExtraAttributes are the labels and variables that the options name; key, where
// not nil, changes their names.
func (i *Info) ExtraAttributes(key func(string) string) (map[string]string, error) {
	attrs := map[string]string{}
	if key == nil {
		key = func(s string) string { return s }
	}
	env := map[string]string{}
	for _, kv := range i.ContainerEnv {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	for _, from := range []struct {
		option string
		values map[string]string
	}{{"labels", i.ContainerLabels}, {"env", env}} {
		for name := range strings.SplitSeq(i.Config[from.option], ",") {
			if v, ok := from.values[name]; ok {
				attrs[key(name)] = v
			}
		}
		pattern := i.Config[from.option+"-regex"]
		if pattern == "" {
			continue
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		for name, v := range from.values {
			if re.MatchString(name) {
				attrs[key(name)] = v
			}
		}
	}
	return attrs, nil
}

// Attrs is what stands beside each line in a file.
func (i *Info) Attrs() (map[string]string, error) {
	attrs, err := i.ExtraAttributes(nil)
	if err != nil {
		return nil, err
	}
	if i.Config["tag"] != "" {
		tag, err := i.Tag("")
		if err != nil {
			return nil, err
		}
		attrs["tag"] = tag
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return maps.Clone(attrs), nil
}

// DefaultTag is the template of drivers that need a tag.
const DefaultTag = "{{.ID}}"

// maxTag bounds what a template makes.
const maxTag = 64 << 10

// Tag is what the option tag makes of the container; def is the template where there is none.
func (i *Info) Tag(def string) (string, error) {
	text := i.Config["tag"]
	if text == "" {
		text = def
	}
	t, err := template.New("log-tag").Funcs(functions).Parse(text)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, i); err != nil {
		return "", err
	}
	if out.Len() > maxTag {
		return "", fmt.Errorf("the log tag has %d bytes; at most %d are taken", out.Len(), maxTag)
	}
	return out.String(), nil
}

// functions are those that Docker's templates have.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return strings.TrimSpace(b.String()), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"title": func(s string) string {
		if s == "" {
			return s
		}
		return strings.ToUpper(s[:1]) + s[1:]
	},
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"pad": func(s string, before, after int) string {
		if s == "" {
			return s
		}
		return strings.Repeat(" ", min(max(before, 0), maxTag)) + s + strings.Repeat(" ", min(max(after, 0), maxTag))
	},
	"truncate": func(s string, n int) string { return s[:min(len(s), max(n, 0))] },
}
