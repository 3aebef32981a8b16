package guest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/test/e2e/engine"
)

// TestRuntime tries by the OCI command line what the engine does not ask for.
func TestRuntime(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes namespaces and cgroups")
	}
	rootfs := unpack(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *bundle)
	}{
		{"limits", runtimeLimits}, {"time namespace", timeNamespace}, {"user namespace", userNamespace},
		{"mapped mount", mappedMount}, {"own cgroup namespace", ownNamespaces},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newBundle(t, rootfs)) })
	}
}

// unpack makes a root file system of busybox.
func unpack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	r := tar.NewReader(bytes.NewReader(engine.BusyboxTar(t)))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err == nil {
			path := filepath.Join(dir, h.Name)
			switch h.Typeflag {
			case tar.TypeDir:
				err = os.MkdirAll(path, os.FileMode(h.Mode))
			case tar.TypeSymlink:
				err = os.Symlink(h.Linkname, path)
			default:
				var content []byte
				if content, err = io.ReadAll(r); err == nil {
					err = os.WriteFile(path, content, os.FileMode(h.Mode))
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bundle is a container in the OCI runtime's form.
type bundle struct {
	t       *testing.T
	dir, id string
	spec    *specs.Spec
}

func newBundle(t *testing.T, rootfs string) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: t.TempDir(), id: "hoyvm-" + strconv.Itoa(os.Getpid()) + engine.Unique("-"), spec: &specs.Spec{}}
	b.hoyRun("spec", "--bundle", b.dir)
	text, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, b.spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.spec.Root = &specs.Root{Path: rootfs}
	b.spec.Process.Terminal = false
	b.spec.Process.Env = []string{"PATH=/bin"}
	b.spec.Linux.CgroupsPath = "/hoyvm/" + b.id
	t.Cleanup(func() {
		engine.Run(t, "", b.line("delete", "--force", b.id)...)
		// The parent goes with the last container below it.
		for _, parent := range []string{tree + "/hoyvm", tree + "/pids/hoyvm"} {
			if left, _ := filepath.Glob(parent + "/hoyvm-*"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			parents, _ := filepath.Glob(tree + "/*/hoyvm")
			for _, p := range append(parents, tree+"/hoyvm") {
				_ = os.Remove(p)
			}
		}
	})
	return b
}

func (b *bundle) line(args ...string) []string {
	return append([]string{engine.Bin(b.t, "hoy-run"), "--root", filepath.Join(b.dir, "state")}, args...)
}

func (b *bundle) hoyRun(args ...string) string {
	b.t.Helper()
	return engine.Run(b.t, "", b.line(args...)...).Must(b.t)
}

func (b *bundle) write(command ...string) {
	b.t.Helper()
	b.spec.Process.Args = command
	text, err := json.Marshal(b.spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "config.json"), text, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// output runs the container with a shell's script.
func (b *bundle) output(script string) string {
	b.t.Helper()
	b.write("sh", "-c", script)
	return b.hoyRun("run", "--bundle", b.dir, b.id)
}

// start leaves the container sleeping.
func (b *bundle) start() *group {
	b.t.Helper()
	b.write("sleep", "1000")
	// The container keeps the standard streams of its create: none of them may be
	// a pipe whose end this test would wait for.
	log := filepath.Join(b.dir, "log")
	line := b.line("--log", log, "create", "--bundle", b.dir, b.id)
	if err := exec.CommandContext(b.t.Context(), line[0], line[1:]...).Run(); err != nil {
		text, _ := os.ReadFile(log)
		b.t.Fatalf("create: %v: %s", err, text)
	}
	b.hoyRun("start", b.id)
	return groupOf(b.t, b.pid())
}

func (b *bundle) pid() int {
	b.t.Helper()
	var s specs.State
	if err := json.Unmarshal([]byte(b.hoyRun("state", b.id)), &s); err != nil {
		b.t.Fatal(err)
	}
	return s.Pid
}

func ptr[T any](v T) *T { return &v }

func runtimeLimits(t *testing.T, b *bundle) {
	b.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))}
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(17))}
	b.spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr(int64(30000)), Period: ptr(uint64(100000)), Cpus: "0"}
	g := b.start()
	g.expect(t,
		value{"memory", memoryMax, "67108864", "67108864"}, value{"swap", swapMax, "67108864", "0"}, value{"processes", pidsMax, "17", "17"},
		value{"quota", cpuQuota, "30000", "30000 100000"}, value{"cpuset", cpus, "0", "0"})
	b.hoyRun("update", "--memory", strconv.Itoa(96<<20), "--memory-swap", strconv.Itoa(96<<20), "--pids-limit", "18", b.id)
	g.expect(t, value{"update", memoryMax, "100663296", "100663296"}, value{"update of processes", pidsMax, "18", "18"})
	if got := b.hoyRun("exec", b.id, "grep", "Cpus_allowed_list", "/proc/self/status"); !strings.HasSuffix(got, "\t0") {
		t.Errorf("exec: %q", got)
	}
	b.hoyRun("pause", b.id)
	g.expect(t, value{"pause", frozen, "1", "1"})
	b.hoyRun("resume", b.id)
	b.hoyRun("kill", b.id, "KILL")
	dir := filepath.Dir(g.path(procs))
	engine.Eventually(t, "the container has stopped", func() bool {
		return strings.Contains(engine.Run(t, "", b.line("state", b.id)...).Out, `"stopped"`)
	})
	b.hoyRun("delete", b.id)
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
}

func timeNamespace(t *testing.T, b *bundle) {
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 8640000}, "monotonic": {Secs: 50}}
	if up, _, _ := strings.Cut(b.output("cat /proc/uptime"), "."); number(t, up) < 8640000 {
		t.Errorf("the machine is up for %s s as the container sees it", up)
	}
}

// mapped makes root of the container an ordinary user of the host's.
func (b *bundle) mapped() []specs.LinuxIDMapping {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = ids, ids
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	return ids
}

func userNamespace(t *testing.T, b *bundle) {
	b.mapped()
	out := b.output("id -u; cat /proc/self/uid_map; stat -c %u /bin")
	if want := []string{"0", "0", "100000", "65536", "65534"}; fmt.Sprint(strings.Fields(out)) != fmt.Sprint(want) {
		t.Errorf("id, map and the owner of a file that is not mapped: %q", out)
	}
}

func mappedMount(t *testing.T, b *bundle) {
	ids := b.mapped()
	data := t.TempDir()
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: data, Options: []string{"bind", "idmap"}, UIDMappings: ids, GIDMappings: ids})
	if err := os.MkdirAll(filepath.Join(b.spec.Root.Path, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := b.output("stat -c %u /mnt; echo x >/mnt/file; id -u"); fmt.Sprint(strings.Fields(out)) != "[0 0]" {
		t.Errorf("the owner inside: %q", out)
	}
	if st, err := os.Stat(data + "/file"); err != nil || fmt.Sprint(st.Sys()) == "" {
		t.Errorf("the file outside: %v", err)
	} else if uid := owner(st); uid != 0 {
		t.Errorf("the file outside is %d's", uid)
	}
}

func ownNamespaces(t *testing.T, b *bundle) {
	b.start()
	want := ":/\n"
	if out := b.hoyRun("exec", b.id, "cat", "/proc/self/cgroup"); !strings.Contains(out+"\n", want) || strings.Contains(out, b.id) {
		t.Errorf("exec sees\n%s", out)
	}
}
