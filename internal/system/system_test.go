package system

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"

	"hoy/internal/container/runtimes"
	"hoy/internal/filter"
	"hoy/internal/request"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/space"
)

type double struct{}

func (double) List(context.Context, request.List) ([]container.Summary, error) {
	return []container.Summary{
		{ID: "1", State: container.StateRunning, SizeRw: 5}, {ID: "2", State: container.StatePaused, SizeRw: 7},
		{ID: "3", State: container.StateExited, SizeRw: 11}, {ID: "4", State: container.StateCreated},
	}, nil
}
func (double) Count() int     { return 3 }
func (double) Driver() string { return "overlayfs" }
func (double) DiskUsage(context.Context, bool) (*image.DiskUsage, error) {
	return &image.DiskUsage{TotalCount: 3}, nil
}

type volumes struct{}

func (volumes) DiskUsage(context.Context) (volume.DiskUsage, error) {
	return volume.DiskUsage{TotalCount: 1, Items: []volume.Volume{{Name: "v"}}}, nil
}

type cgroups struct{ version string }

func (cgroups) Support() *tree.Support { return &tree.Support{Memory: true} }
func (cgroups) Driver() string         { return "cgroupfs" }
func (c cgroups) Version() string      { return c.version }

type bus struct{}

func (bus) Subscribe(context.Context, time.Time, time.Time, filter.Args) iter.Seq[events.Message] {
	return func(func(events.Message) bool) {}
}
func (bus) Subscribers() int { return 2 }

type ociRuntimes struct{}

func (ociRuntimes) Default() string { return "b" }
func (ociRuntimes) List() map[string]runtimes.Info {
	return map[string]runtimes.Info{"a": {Path: "/a"}, "b": {Path: "/b", Args: []string{"--x"}, Features: `{"f":1}`, Commit: "c0"}}
}

func service(set Settings) *Service {
	return New(Deps{Containers: double{}, Images: double{}, Volumes: volumes{}, Cgroups: cgroups{"1"}, Events: bus{}, Runtimes: ociRuntimes{}, Settings: func() Settings { return set },
		Usage: func(context.Context) *space.Usage {
			return &space.Usage{Images: 1000, Writable: map[string]int64{"1": 5, "2": 7, "3": 11}, Own: map[string]int64{"3": 100, "gone": 1}}
		}})
}

func TestInfo(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://joe:secret@proxy:1")
	info, err := service(Settings{
		ID: "id", DataRoot: "/d", LogDriver: "json-file", InsecureRegistries: []string{"h:1", "10.0.0.0/8"},
		Mirrors: []string{"https://m/"}, Insecure: []string{"0.0.0.0:2375"},
	}).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Containers != 4 || info.ContainersRunning != 1 || info.ContainersPaused != 1 || info.ContainersStopped != 2 {
		t.Errorf("counts: %+v", info)
	}
	if b := info.Runtimes["b"]; len(info.Runtimes) != 2 || info.DefaultRuntime != "b" || info.RuncCommit.ID != "c0" ||
		b.Path != "/b" || len(b.Args) != 1 || b.Status["org.opencontainers.runtime-spec.features"] != `{"f":1}` {
		t.Errorf("runtimes: %+v", info)
	}
	if info.NCPU < 1 || info.MemTotal < 1<<20 || info.KernelVersion == "" || info.OperatingSystem == "" || info.Name == "" || info.NFd < 3 {
		t.Errorf("host: %+v", info)
	}
	if strings.Contains(info.HTTPProxy, "secret") || !strings.Contains(info.HTTPProxy, "proxy:1") {
		t.Errorf("proxy: %q", info.HTTPProxy)
	}
	if i := info.RegistryConfig.IndexConfigs["h:1"]; i == nil || i.Secure || len(info.RegistryConfig.InsecureRegistryCIDRs) != 3 {
		t.Errorf("registries: %+v", info.RegistryConfig)
	}
	if !strings.Contains(strings.Join(info.Warnings, "\n"), "0.0.0.0:2375 without encryption") {
		t.Errorf("warnings: %q", info.Warnings)
	}
	if _, err := json.Marshal(info); err != nil {
		t.Error(err)
	}
}

func TestDiskUsage(t *testing.T) {
	s := service(Settings{})
	all, err := s.DiskUsage(t.Context(), request.Usage{})
	if err != nil {
		t.Fatal(err)
	}
	c := all.ContainerUsage
	if c.TotalCount != 4 || c.ActiveCount != 2 || c.TotalSize != 124 || c.Reclaimable != 111 || c.Items != nil {
		t.Errorf("containers: %+v", c)
	}
	if all.ImageUsage == nil || all.VolumeUsage == nil || all.VolumeUsage.Items != nil || all.BuildCacheUsage == nil {
		t.Errorf("%+v", all)
	}
	one, err := s.DiskUsage(t.Context(), request.Usage{Volumes: true, Verbose: true})
	if err != nil || one.ImageUsage != nil || one.ContainerUsage != nil || len(one.VolumeUsage.Items) != 1 {
		t.Errorf("%+v, %v", one, err)
	}
}

func TestVersion(t *testing.T) {
	v, err := service(Settings{}).Version(t.Context())
	if err != nil || v.APIVersion != "1.55" || v.MinAPIVersion != "1.24" || v.Components[0].Name != "Engine" || v.Components[0].Details["ApiVersion"] != "1.55" {
		t.Errorf("%+v, %v", v, err)
	}
}
