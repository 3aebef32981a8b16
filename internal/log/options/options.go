// Package options gives the options of log drivers their meaning: which driver
// knows which, what their values are, and what a bad one is told.
package options

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	units "github.com/docker/go-units"

	"hoy/internal/log"
	"hoy/internal/log/journal"
	"hoy/internal/log/syslog"
)

const (
	// Every log is rotated unless a person says otherwise, so that none fills the disk.
	defaultSize  = 20 << 20
	defaultFiles = 5
	// defaultBuffer is what may wait in memory with mode=non-blocking; Docker's number.
	defaultBuffer = 1 << 20
)

// driver is what there is to know of one.
type driver struct {
	// options beside those that every driver has.
	options []string
	// unknown is what an unknown option is told.
	unknown string
	// check of the driver's own options, where it has some.
	check func(map[string]string) error
	// forwarded: the file is a copy, what counts is elsewhere.
	forwarded bool
	// compress rotated files where nothing is said.
	compress bool
}

var (
	fileOptions   = []string{"max-file", "max-size", "compress"}
	attrOptions   = []string{"labels", "labels-regex", "env", "env-regex", "tag"}
	cacheOptions  = []string{"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
	syslogOptions = []string{
		"syslog-address", "syslog-facility", "syslog-format",
		"syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify",
	}
	// modeOptions are those of every driver.
	modeOptions = []string{"mode", "max-buffer-size"}
)

var drivers = map[string]driver{
	log.JSONFile: {options: fileOptions, unknown: "unknown log opt '%s' for json-file log driver"},
	log.Local:    {options: fileOptions, unknown: "unknown log opt '%s' for log driver local", compress: true},
	log.Syslog: {
		options: slices.Concat(syslogOptions, cacheOptions), unknown: "unknown log opt '%s' for syslog log driver",
		check: func(o map[string]string) error { _, err := syslog.Parse(o); return err }, forwarded: true, compress: true,
	},
	log.Journald: {options: cacheOptions, unknown: "unknown log opt '%s' for journald log driver", forwarded: true, compress: true},
}

// Drivers are all that keep something, sorted.
func Drivers() []string { return slices.Sorted(maps.Keys(drivers)) }

// Forwarded says whether the driver's logs go elsewhere.
func Forwarded(name string) bool { return drivers[name].forwarded }

// Ready says why a container cannot be started with a driver, in Docker's words.
func Ready(name string) error {
	if name == log.Journald && !journal.Present("") {
		return errors.New("failed to initialize logging driver: journald is not enabled on this host")
	}
	return nil
}

// Parse checks a driver's options and says how its file is kept, in the directory of its container.
func Parse(name string, opts map[string]string, dir, id string) (log.Config, error) {
	out := log.Config{Driver: name}
	if name == log.None {
		return out, nil
	}
	d, ok := drivers[name]
	if err := checkMode(opts); err != nil {
		return out, err
	}
	if !ok {
		return out, fmt.Errorf("logger: no log driver named '%s' is registered", name)
	}
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if !slices.Contains(d.options, key) && !slices.Contains(attrOptions, key) && !slices.Contains(modeOptions, key) {
			return out, fmt.Errorf(d.unknown, key)
		}
	}
	if d.check != nil {
		if err := d.check(opts); err != nil {
			return out, err
		}
	}
	if err := checkAttrs(opts); err != nil {
		return out, err
	}
	file := id + "-local.log"
	if name == log.JSONFile {
		file = id + "-json.log"
	}
	out.Path = filepath.Join(dir, file)
	if err := files(&out, d, opts); err != nil {
		return out, err
	}
	switch mode := opts["mode"]; {
	case mode == "non-blocking":
		out.Buffer = defaultBuffer
		if s, ok := opts["max-buffer-size"]; ok {
			n, _ := units.RAMInBytes(s) // checked above
			out.Buffer = max(n, 1)
		}
	case mode == "blocking" && d.forwarded:
		out.Sent = out.SentPath()
	}
	return out, nil
}

func checkMode(opts map[string]string) error {
	mode := opts["mode"]
	if mode != "" && mode != "blocking" && mode != "non-blocking" {
		return fmt.Errorf("logger: logging mode not supported: %s", mode)
	}
	size, ok := opts["max-buffer-size"]
	if !ok {
		return nil
	}
	if mode != "non-blocking" {
		return errors.New("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := units.RAMInBytes(size); err != nil {
		return fmt.Errorf("error parsing option max-buffer-size: %w", err)
	}
	return nil
}

func checkAttrs(opts map[string]string) error {
	for _, key := range []string{"labels-regex", "env-regex"} {
		if _, err := regexp.Compile(opts[key]); err != nil {
			return err
		}
	}
	sample := Info{Config: opts, ContainerID: "0123456789abcdef", ContainerName: "/name", ContainerImageID: "sha256:0123456789abcdef"}
	_, err := sample.Tag(DefaultTag)
	return err
}

// files takes sizes and numbers. Those of a copy have other names.
func files(out *log.Config, d driver, opts map[string]string) (err error) {
	prefix := ""
	if d.forwarded {
		prefix = "cache-"
	}
	out.MaxSize, out.MaxFiles = defaultSize, defaultFiles
	if s, ok := opts[prefix+"max-size"]; ok {
		if out.MaxSize, err = maxSize(s); err != nil {
			return err
		}
	}
	if s, ok := opts[prefix+"max-file"]; ok {
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		if n < 1 {
			return errors.New("max-file cannot be less than 1")
		}
		out.MaxFiles = n
	}
	rotated := out.MaxFiles > 1 && out.MaxSize > 0
	out.Compress = d.compress && rotated
	if s, ok := opts[prefix+"compress"]; ok {
		if out.Compress, err = strconv.ParseBool(s); err != nil {
			return err
		}
		switch {
		case !out.Compress || rotated:
		case out.Driver == log.JSONFile:
			return errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
		default:
			return errors.New("compression cannot be enabled when max file count is 1")
		}
	}
	if s, ok := opts["cache-disabled"]; ok {
		if out.Unreadable, err = strconv.ParseBool(s); err != nil {
			return err
		}
	}
	return nil
}

// maxSize is decimal, as in Docker: 10m is ten million bytes. -1 is no limit.
func maxSize(s string) (int64, error) {
	if s == "-1" {
		return 0, nil
	}
	n, err := units.FromHumanSize(s)
	if err != nil {
		return 0, err
	}
	if n <= 0 {
		return 0, errors.New("max-size must be a positive number")
	}
	return n, nil
}
