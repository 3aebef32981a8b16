package conformance

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/test/e2e/engine"
)

// TestMountsInOrder: of mounts at one place the last is seen, and a mount below
// another is seen only if it is listed behind it.
func TestMountsInOrder(t *testing.T) {
	b := newBox(t, runtimePath(t))
	bundle := b.path("bundle")
	engine.Run(t, "", "mkdir", bundle+"/rootfs").Must(t)
	engine.Run(t, "", "tar", "-C", bundle+"/rootfs", "-xf", b.rootfs()).Must(t)
	source := b.path("source")
	engine.Run(t, "", "mkdir", source+"/sub").Must(t)
	tmpfs := func(at, mode string) specs.Mount {
		return specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: at, Options: []string{"mode=" + mode}}
	}
	bind := func(at string) specs.Mount {
		return specs.Mount{Type: "bind", Source: source, Destination: at, Options: []string{"rbind"}}
	}
	spec := specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Mounts: []specs.Mount{
			{Type: "proc", Source: "proc", Destination: "/proc"},
			tmpfs("/a", "700"), tmpfs("/a", "711"), // the later covers the earlier
			tmpfs("/b/sub", "700"), bind("/b"), // covered by what is listed later
			bind("/c"), tmpfs("/c/sub", "711"),
			tmpfs("/d", "755"), {Type: "proc", Source: "proc", Destination: "/d/proc"},
		},
		Process: &specs.Process{Cwd: "/", Env: []string{"PATH=/bin"}, Args: []string{"sh", "-c", "stat -c %a /a /b/sub /c/sub; ls /d/proc/self/exe"}},
		Linux: &specs.Linux{CgroupsPath: "/" + b.name(), Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
	config, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/config.json", config, 0o644); err != nil {
		t.Fatal(err)
	}
	out := engine.Run(t, "", b.runtime, "run", "--bundle", bundle, b.name()).Must(t)
	if got := strings.Join(strings.Fields(out), " "); got != "711 755 711 /d/proc/self/exe" {
		t.Error(got)
	}
}
