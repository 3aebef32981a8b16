package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"hoy/internal/log"
)

// Where a container asks for no limit its log is rotated all the same, so that
// no log fills the disk.
const (
	defaultLogSize  = 100 << 20
	defaultLogFiles = 3
)

func checkLog(c container.LogConfig) error {
	_, err := Log(c, &container.Config{}, "")
	return err
}

// Log translates the API's log configuration; path is the log's file.
func Log(c container.LogConfig, cfg *container.Config, path string) (log.Config, error) {
	out := log.Config{Driver: c.Type}
	switch c.Type {
	case "none":
		return out, nil
	case "json-file":
	default:
		return out, invalid("logger: no log driver named '%s' is registered (this engine has json-file and none)", c.Type)
	}
	out.Path, out.MaxSize, out.MaxFiles = path, defaultLogSize, defaultLogFiles
	for _, key := range slices.Sorted(maps.Keys(c.Config)) {
		value := c.Config[key]
		switch key {
		case "max-size":
			n, err := units.RAMInBytes(value)
			if value != "-1" && (err != nil || n < 0) {
				return out, invalid("invalid size: '%s'", value)
			}
			out.MaxSize = max(0, n)
		case "max-file":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return out, invalid("max-file cannot be less than 1: %q", value)
			}
			out.MaxFiles = n
		case "labels", "labels-regex", "env", "env-regex", "tag":
		case "compress":
			if _, err := strconv.ParseBool(value); err != nil {
				return out, invalid("invalid value for compress: %q", value)
			}
		case "mode":
			if value != "blocking" && value != "non-blocking" {
				return out, invalid("logger: logging mode not supported: %s", value)
			}
		case "max-buffer-size":
			if _, err := units.RAMInBytes(value); err != nil {
				return out, invalid("invalid value for max-buffer-size: %q", value)
			}
		default:
			return out, invalid("unknown log opt '%s' for json-file log driver", key)
		}
	}
	attrs, err := logAttrs(c.Config, cfg)
	out.Attrs = attrs
	return out, err
}

func logAttrs(opts map[string]string, cfg *container.Config) (map[string]string, error) {
	attrs := map[string]string{}
	env := map[string]string{}
	for _, kv := range cfg.Env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	for _, from := range []struct {
		list, pattern string
		values        map[string]string
	}{{opts["labels"], opts["labels-regex"], cfg.Labels}, {opts["env"], opts["env-regex"], env}} {
		for name := range strings.SplitSeq(from.list, ",") {
			if v, ok := from.values[name]; ok {
				attrs[name] = v
			}
		}
		if from.pattern == "" {
			continue
		}
		re, err := regexp.Compile(from.pattern)
		if err != nil {
			return nil, invalid("invalid log option: %v", err)
		}
		for name, v := range from.values {
			if re.MatchString(name) {
				attrs[name] = v
			}
		}
	}
	if tag := opts["tag"]; tag != "" {
		attrs["tag"] = tag
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}
