package options

import (
	"strings"
	"testing"
	"time"

	"hoy/internal/log"
)

func TestRefusalsAreDockers(t *testing.T) {
	for _, tc := range []struct {
		driver, opts, want string
	}{
		{"nosuch", "", "logger: no log driver named 'nosuch' is registered"},
		{"json-file", "x=1", "unknown log opt 'x' for json-file log driver"},
		{"local", "x=1", "unknown log opt 'x' for log driver local"},
		{"syslog", "max-size=1m", "unknown log opt 'max-size' for syslog log driver"},
		{"journald", "max-size=1m", "unknown log opt 'max-size' for journald log driver"},
		{"json-file", "mode=x", "logger: logging mode not supported: x"},
		{"json-file", "max-buffer-size=1m", "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"json-file", "mode=non-blocking max-buffer-size=x", "error parsing option max-buffer-size: invalid size: 'x'"},
		{"json-file", "max-size=x", "invalid size: 'x'"},
		{"json-file", "max-size=0", "max-size must be a positive number"},
		{"json-file", "max-file=0", "max-file cannot be less than 1"},
		{"json-file", "max-file=x", `strconv.Atoi: parsing "x": invalid syntax`},
		{"json-file", "compress=x", `strconv.ParseBool: parsing "x": invalid syntax`},
		{"json-file", "compress=true max-file=1", "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{"local", "compress=true max-file=1", "compression cannot be enabled when max file count is 1"},
		{"json-file", "tag={{.Nosuch}}", "template: log-tag:1:2: executing \"log-tag\" at <.Nosuch>: can't evaluate field Nosuch in type *options.Info"},
		{"json-file", "labels-regex=(", "error parsing regexp: missing closing ): `(`"},
		{"syslog", "syslog-format=x", "invalid syslog format"},
	} {
		_, err := Parse(tc.driver, pairs(tc.opts), "/dir", "id")
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s %s: %v, want %s", tc.driver, tc.opts, err, tc.want)
		}
	}
}

func pairs(s string) map[string]string {
	m := map[string]string{}
	for _, kv := range strings.Fields(s) {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

func TestHowFilesAreKept(t *testing.T) {
	for _, tc := range []struct {
		driver, opts string
		want         log.Config
	}{
		{"none", "x=1", log.Config{Driver: "none"}},
		{"json-file", "", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxSize: 20 << 20, MaxFiles: 5}},
		{"json-file", "max-size=-1", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxFiles: 5}},
		{"json-file", "max-size=10m max-file=3 compress=true", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxSize: 10_000_000, MaxFiles: 3, Compress: true}},
		{"local", "", log.Config{Driver: "local", Path: "/dir/id-local.log", MaxSize: 20 << 20, MaxFiles: 5, Compress: true}},
		{"local", "max-file=1", log.Config{Driver: "local", Path: "/dir/id-local.log", MaxSize: 20 << 20, MaxFiles: 1}},
		{"syslog", "cache-max-size=1k cache-disabled=true", log.Config{Driver: "syslog", Path: "/dir/id-local.log", MaxSize: 1000, MaxFiles: 5, Compress: true, Unreadable: true}},
		{"syslog", "mode=blocking", log.Config{Driver: "syslog", Path: "/dir/id-local.log", MaxSize: 20 << 20, MaxFiles: 5, Compress: true, Sent: "/dir/id-local.log.sent"}},
		{"json-file", "mode=blocking", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxSize: 20 << 20, MaxFiles: 5}},
		{"json-file", "mode=non-blocking", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxSize: 20 << 20, MaxFiles: 5, Buffer: 1 << 20}},
		{"json-file", "mode=non-blocking max-buffer-size=4m", log.Config{Driver: "json-file", Path: "/dir/id-json.log", MaxSize: 20 << 20, MaxFiles: 5, Buffer: 4 << 20}},
	} {
		got, err := Parse(tc.driver, pairs(tc.opts), "/dir", "id")
		if err != nil || got.Driver != tc.want.Driver || got.Path != tc.want.Path || got.MaxSize != tc.want.MaxSize || got.MaxFiles != tc.want.MaxFiles ||
			got.Compress != tc.want.Compress || got.Buffer != tc.want.Buffer || got.Sent != tc.want.Sent || got.Unreadable != tc.want.Unreadable {
			t.Errorf("%s %s: %+v, %v", tc.driver, tc.opts, got, err)
		}
	}
}

func TestTagsAndAttributes(t *testing.T) {
	i := Info{
		ContainerID: "0123456789abcdef", ContainerName: "/web", ContainerImageID: "sha256:fedcba9876543210", ContainerImageName: "busybox:1",
		ContainerEntrypoint: "sh", ContainerArgs: []string{"-c", "x"}, ContainerCreated: time.Unix(0, 0),
		ContainerEnv: []string{"A=1", "B=2", "broken"}, ContainerLabels: map[string]string{"l": "v", "other": "w"}, DaemonName: "docker",
	}
	for tag, want := range map[string]string{
		"":                                       "0123456789ab",
		"{{.Name}}/{{.FullID}}":                  "web/0123456789abcdef",
		"{{.ImageName}} {{.ImageID}}":            "busybox:1 sha256:fedcb",
		"{{.DaemonName}}:{{.Command}}":           "docker:sh -c x",
		`{{index .ContainerLabels "l"}}`:         "v",
		"{{upper .Name}}{{json .ContainerArgs}}": `WEB["-c","x"]`,
		"{{truncate .Name 2}}":                   "we",
	} {
		i.Config = map[string]string{"tag": tag}
		if got, err := i.Tag(DefaultTag); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", tag, got, err, want)
		}
	}
	i.Config = map[string]string{"labels": "l,none", "env-regex": "^[AB]$", "tag": "x{{.Name}}"}
	got, err := i.Attrs()
	if err != nil || len(got) != 4 || got["l"] != "v" || got["A"] != "1" || got["B"] != "2" || got["tag"] != "xweb" {
		t.Errorf("%v %v", got, err)
	}
}
