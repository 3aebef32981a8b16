package config

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileAndFlags(t *testing.T) {
	path := write(t, `{"data-root":"/a","exec-root":"/b","hosts":["tcp://127.0.0.1:1"],"labels":["x=1"],"mtu":1400,
		"bip":"172.20.0.1/16","dns":["1.1.1.1"],"log-opts":{"max-size":"10m"},"debug":true,"default-shm-size":"1G",
		"default-ulimits":{"nofile":{"Name":"nofile","Soft":5,"Hard":6}},"storage-driver":"overlay2","live-restore":true}`)
	c, err := Load([]string{"--config-file", path, "--data-root=/c", "-H", "unix:///s", "--label", "y=2", "--debug=false", "--log-opt", "max-file=3", "--default-ulimit", "core=7:8"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name      string
		got, want any
	}{
		{"a flag wins", c.DataRoot, "/c"},
		{"the file is read", c.ExecRoot, "/b"},
		{"a list of flags replaces the file's", c.Hosts, []string{"unix:///s"}},
		{"labels", c.Labels, []string{"y=2"}},
		{"a flag may also switch off", c.Level(), slog.LevelInfo},
		{"mtu", c.MTU, 1400},
		{"bip", c.BIP.String(), "172.20.0.1/16"},
		{"log-opts", c.LogOpts, map[string]string{"max-file": "3"}},
		{"shm", c.DefaultShmSize, Bytes(1 << 30)},
		{"ulimit", c.DefaultUlimits["core"].Hard, int64(8)},
		{"driver", c.StorageDriver, "overlayfs"},
		{"pidfile", c.Pidfile, "/b/hoyd.pid"},
		{"dns", c.DNS[0].String(), "1.1.1.1"},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, x.got, x.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Load([]string{"--config-file", write(t, "")}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if c.Hosts[0] != DefaultHost || c.DataRoot != "/var/lib/hoy" || c.Bridge != "hoy0" || c.Pidfile != "/run/hoy/hoyd.pid" {
		t.Errorf("%+v", c)
	}
}

func TestRefusals(t *testing.T) {
	for file, want := range map[string]string{
		`{"data-rot":"/x"}`:                  "the following directives don't match any configuration option: data-rot (did you mean data-root?)",
		`{"label":["a=b"]}`:                  "label (did you mean labels?)",
		`{"zzzzzzzzzzzzz":1,"host":1}`:       "host (did you mean hosts?), zzzzzzzzzzzzz",
		`{"x":1}`:                            "don't match any configuration option: x\x00",
		`{"config-file":"/x"}`:               "config-file",
		`{"mtu":"big"}`:                      "mtu: got string where int is expected",
		`{"mtu":1,}`:                         "line 1",
		"{\n\n\"mtu\":}":                     "line 3",
		`[]`:                                 "must be a JSON object",
		`{"mtu":3}`:                          "invalid mtu 3",
		`{"log-level":"loud"}`:               `invalid log-level "loud"`,
		`{"log-driver":"nosuch"}`:            `no log driver named 'nosuch' is registered`,
		`{"log-opts":{"max-size":"x"}}`:      `invalid size: 'x'`,
		`{"storage-driver":"aufs"}`:          `unsupported storage-driver "aufs"`,
		`{"live-restore":false}`:             "containers always outlive the daemon",
		`{"iptables":false}`:                 "iptables=false is not supported",
		`{"default-runtime":"crun"}`:         "specified default runtime 'crun' does not exist",
		`{"runtimes":{"x":{}}}`:              `runtime "x": a path must be configured`,
		`{"runtimes":{"hoy":{"path":"/x"}}}`: "runtime name 'hoy' is reserved",
		`{"runtimes":{"a b":{"path":"/x"}}}`: `invalid runtime name "a b"`,
		`{"runtimes":{"x":{"runtimeType":"io.containerd.runc.v2","options":{"BinaryName":"/x"}}}}`: "are of containerd's shims, which are not supported",
		`{"labels":["a"]}`:                                                   `invalid label "a"`,
		`{"labels":["a=1","a=2"]}`:                                           "conflict labels for a=2 and a=1",
		`{"registry-mirrors":["ftp"]}`:                                       `invalid registry mirror "ftp"`,
		`{"bip":"10.0.0.0/8"}`:                                               "invalid bip",
		`{"bridge":"` + strings.Repeat("b", 16) + `"}`:                       "invalid bridge",
		`{"exec-opts":["native.cgroupdriver=x"]}`:                            "unsupported exec-opt",
		`{"exec-opts":["native.cgroupdriver=systemd"],"cgroup-parent":"/x"}`: "should be a valid slice",
		`{"cgroup-parent":"/"}`:                                              "invalid cgroup-parent",
		`{"default-ulimits":{"bogus":{"Soft":1,"Hard":1}}}`:                  "invalid default-ulimits: bogus",
		`{"default-cgroupns-mode":"shared"}`:                                 "invalid default-cgroupns-mode",
		`{"data-root":"/same","exec-root":"/same"}`:                          "must be two directories",
		`{"log-format":"xml","shutdown-timeout":-1,"group":"g"}`:             "invalid log-format",
	} {
		if _, err := Load([]string{"--config-file", write(t, file)}, io.Discard); err == nil || !strings.Contains(err.Error()+"\x00", want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
	for _, args := range [][]string{{"--nope"}, {"word"}, {"--mtu=x"}, {"--label"}, {"--config-file=/nonexistent"}, {"--log-opt=x"}} {
		if _, err := Load(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestReload(t *testing.T) {
	load := func(text string) *Config {
		c, err := Load([]string{"--config-file", write(t, text)}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := load(`{"debug":true,"mtu":1400,"labels":["a=1"]}`)
	taken, restart := c.Reload(load(`{"mtu":1500,"labels":["a=2"],"insecure-registries":["h:1"]}`))
	if want := []string{"debug", "insecure-registries", "labels"}; !reflect.DeepEqual(taken, want) {
		t.Errorf("taken %v, want %v", taken, want)
	}
	if !reflect.DeepEqual(restart, []string{"mtu"}) || c.MTU != 1400 || c.Debug || c.Labels[0] != "a=2" {
		t.Errorf("restart %v, %+v", restart, c)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var text strings.Builder
	_, err := Load([]string{"--help"}, &text)
	if err == nil {
		t.Error("help is no configuration")
	}
	for _, o := range options {
		if o.flag != "-" && !strings.Contains(text.String(), "--"+o.flagName()) {
			t.Errorf("help does not name --%s", o.flagName())
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"mtu":1}`, `{"hosts":null}`, `{"default-ulimits":{"a":null}}`, `{"dns":["x"]}`, `{"bip":""}`, `[`, "\xef\xbb\xbf{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Default()
		if decode(data, c) == nil {
			_ = c.finish()
		}
	})
}
