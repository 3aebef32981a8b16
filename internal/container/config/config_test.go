package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
)

func TestRefusals(t *testing.T) {
	type hc = container.HostConfig
	type res = container.Resources
	swap := int64(101)
	for want, h := range map[string]hc{
		"Minimum memory limit allowed is 6MB":                              {Resources: res{Memory: 4 << 20}},
		"Minimum memoryswap limit should be larger than memory limit":      {Resources: res{Memory: 8 << 20, MemorySwap: 7 << 20}},
		"You should always set the Memory limit when using Memoryswap":     {Resources: res{MemorySwap: 7 << 20}},
		"Minimum memory limit can not be less than memory reservation":     {Resources: res{Memory: 8 << 20, MemoryReservation: 9 << 20}},
		"valid memory swappiness range is 0-100":                           {Resources: res{MemorySwappiness: &swap}},
		"range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs":     {Resources: res{NanoCPUs: 3e9}},
		"Nano CPUs and CPU Period cannot both be set":                      {Resources: res{NanoCPUs: 1e9, CPUPeriod: 1000}},
		"CPU cfs period cannot be less than 1ms":                           {Resources: res{CPUPeriod: 5}},
		"CPU cfs quota cannot be less than 1ms":                            {Resources: res{CPUQuota: 5}},
		"Requested CPUs are not available - requested 0-5, available: 0-1": {Resources: res{CpusetCpus: "0-5"}},
		"Invalid value x for cpuset cpus":                                  {Resources: res{CpusetCpus: "x"}},
		"Range of blkio weight is from 10 to 1000":                         {Resources: res{BlkioWeight: 5}},
		"invalid device cgroup rule format: 'x'":                           {Resources: res{DeviceCgroupRules: []string{"x"}}},
		"invalid device mode: q":                                           {Resources: res{Devices: []container.DeviceMapping{{PathOnHost: "/dev/null", CgroupPermissions: "q"}}}},
		"can't create 'AutoRemove' container with restart policy":          {AutoRemove: true, RestartPolicy: container.RestartPolicy{Name: "always"}},
		"unknown policy 'x'":                                               {RestartPolicy: container.RestartPolicy{Name: "x"}},
		"invalid PID mode: x":                                              {PidMode: "x"},
		"invalid IPC mode: x":                                              {IpcMode: "x"},
		"invalid UTS mode: x":                                              {UTSMode: "x"},
		"invalid cgroup namespace mode: x":                                 {CgroupnsMode: "x"},
		"invalid userns mode: x":                                           {UsernsMode: "x"},
		"range for oom score adj is [-1000, 1000]":                         {OomScoreAdj: 1001},
		"SHM size can not be less than 0":                                  {ShmSize: -1},
		`invalid CapAdd: unknown capability: "NOPE"`:                       {CapAdd: []string{"NOPE"}},
		`invalid --security-opt 1: "x"`:                                    {SecurityOpt: []string{"x"}},
		`invalid --security-opt 2: "x=y"`:                                  {SecurityOpt: []string{"x=y"}},
		"AppArmor is not supported on this host, but the profile 'p'":      {SecurityOpt: []string{"apparmor=p"}},
		"no log driver named 'nosuch' is registered":                       {LogConfig: container.LogConfig{Type: "nosuch"}},
		"unknown log opt 'x' for json-file log driver":                     {LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"x": "y"}}},
		`sysctl "vm.swappiness" is not in a separate kernel namespace`:     {Sysctls: map[string]string{"vm.swappiness": "1"}},
		`sysctl "net.x" not allowed in host network namespace`:             {NetworkMode: "host", Sysctls: map[string]string{"net.x": "1"}},
		`bad format for add-host: "x"`:                                     {ExtraHosts: []string{"x"}},
		"invalid IP address in add-host":                                   {ExtraHosts: []string{"x:y"}},
		"ulimit soft limit must be less than or equal to hard limit":       {Resources: res{Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 2, Hard: 1}}}},
		"could not select device driver":                                   {Resources: res{DeviceRequests: []container.DeviceRequest{{}}}},
	} {
		host := Host{CPUs: 2}
		_, err := Validate(&container.Config{}, FillHost(&h, host), host)
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	host := Host{CPUs: 2}
	if w, err := Validate(&container.Config{}, FillHost(nil, host), host); err != nil || len(w) != 0 {
		t.Errorf("defaults: %v, %v", w, err)
	}
	on := true
	if w, err := Validate(&container.Config{}, FillHost(&hc{Resources: res{OomKillDisable: &on}}, host), host); err != nil || len(w) != 1 {
		t.Errorf("OOM killer off without a limit: %v, %v; want a warning", w, err)
	}
}

func TestMerge(t *testing.T) {
	var img dockerspec.DockerOCIImageConfig
	img.Entrypoint, img.Cmd, img.Env = []string{"e"}, []string{"c"}, []string{"A=1", "B=2"}
	img.WorkingDir, img.User = "/w", "u"
	for _, c := range []struct {
		ask  container.Config
		want string
	}{
		{container.Config{}, "e c"},
		{container.Config{Cmd: []string{"x"}}, "e x"},
		{container.Config{Entrypoint: []string{"y"}}, "y"},
		{container.Config{Entrypoint: []string{""}, Cmd: []string{"x"}}, "x"},
	} {
		got, err := Merge(&c.ask, img)
		if err != nil || strings.Join(Command(got), " ") != c.want || got.WorkingDir != "/w" || got.User != "u" {
			t.Errorf("%+v: %+v, %v; want %q", c.ask, got, err, c.want)
		}
	}
	got, _ := Merge(&container.Config{Env: []string{"B=3", "C=4"}}, img)
	if !slices.Equal(got.Env, []string{"B=3", "C=4", "A=1"}) {
		t.Errorf("environment %v", got.Env)
	}
	if _, err := Merge(&container.Config{Entrypoint: []string{""}}, img); err == nil || err.Error() != "no command specified" {
		t.Errorf("no command: %v", err)
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		add, drop  []string
		privileged bool
		want       int
	}{
		{nil, nil, false, 14}, {[]string{"SYS_ADMIN"}, nil, false, 15}, {nil, []string{"ALL"}, false, 0},
		{[]string{"chown"}, []string{"all"}, false, 1}, {[]string{"ALL"}, []string{"KILL"}, false, 40}, {nil, nil, true, 41},
	} {
		got, err := Capabilities(c.add, c.drop, c.privileged)
		if err != nil || len(got) != c.want {
			t.Errorf("%+v: %d capabilities, %v", c, len(got), err)
		}
	}
}
