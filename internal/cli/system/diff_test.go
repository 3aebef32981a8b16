package system

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func verbs(app *cli.App, root *cobra.Command) {
	root.AddCommand(Commands(app)...)
	root.AddCommand(Management(app))
}

const serverVersionJSON = `{"Platform":{"Name":"hoy"},"Version":"28.2.2","ApiVersion":"1.50","MinAPIVersion":"1.24","GitCommit":"45873be","GoVersion":"go1.24.3",
	"Os":"linux","Arch":"amd64","KernelVersion":"6.18.0","BuildTime":"2025-05-30T12:07:26.000000000+00:00",
	"Components":[{"Name":"Engine","Version":"28.2.2","Details":{"ApiVersion":"1.50","MinAPIVersion":"1.24","Arch":"amd64","BuildTime":"2025-05-30T12:07:26.000000000+00:00",
		"Experimental":"false","GitCommit":"45873be","GoVersion":"go1.24.3","KernelVersion":"6.18.0","Os":"linux"}},
	{"Name":"containerd","Version":"1.7.27","Details":{"GitCommit":"05044ec","B":"c"}}]}`

// serverPart cuts off what each program says of itself.
func serverPart(out string) string {
	_, server, _ := strings.Cut(out, "\nServer:")
	return server
}

func TestVersionAsDocker(t *testing.T) {
	t.Setenv("TZ", "UTC")
	s := difftest.Serve(t, difftest.Routes{"GET /version": {Body: serverVersionJSON}})
	want, got := s.Docker(t, "", "version"), s.Hoy(t, verbs, "", "version")
	if serverPart(got.Out) != serverPart(want.Out) || got.Code != want.Code || serverPart(want.Out) == "" {
		t.Errorf("--- hoy\n%s%s\n--- docker\n%s%s", got.Out, got.Err, want.Out, want.Err)
	}
	for _, line := range []string{"Client:", " API version:       1.50 (downgraded from ", " Context:           default"} {
		if !strings.Contains(got.Out, line) {
			t.Errorf("no %q in\n%s", line, got.Out)
		}
	}
	for _, layout := range []string{
		"{{.Server.Version}} {{.Server.APIVersion}} {{.Server.GoVersion}} {{.Server.Os}}/{{.Server.Arch}} {{.Server.Platform.Name}}",
		"{{.Server.KernelVersion}} {{.Server.BuildTime}} {{.Server.GitCommit}} {{.Server.Experimental}} {{.Server.MinAPIVersion}}",
		"{{range .Server.Components}}{{.Name}} {{.Version}};{{end}}", "{{.Client.APIVersion}} {{.Client.Context}} {{.Client.Os}}",
	} {
		difftest.Compare(t, difftest.Routes{"GET /version": {Body: serverVersionJSON}}, verbs, "", "version", "--format", layout)
	}
	difftest.Compare(t, difftest.Routes{"GET /version": {Status: 500, Body: `{"message":"it broke"}`}}, verbs, "", "version", "-f", "{{.Client.Context}}")
}

func TestVersionWithoutDaemon(t *testing.T) {
	s := &difftest.Server{Host: "unix://" + filepath.Join(t.TempDir(), "none.sock")}
	got := s.Hoy(t, verbs, "", "version")
	if !strings.HasPrefix(got.Out, "Client:\n Version:") || strings.Contains(got.Out, "Server:") || got.Code != 1 {
		t.Errorf("code %d, output\n%s", got.Code, got.Out)
	}
	if !strings.Contains(got.Err, "Cannot connect to the hoy daemon") {
		t.Errorf("error %q", got.Err)
	}
	if got = s.Hoy(t, verbs, "", "info"); got.Code != 1 || !strings.HasPrefix(got.Out, "Client:\n Version:") || !strings.Contains(got.Err, "Cannot connect") {
		t.Errorf("info: %+v", got)
	}
}

const infoJSON = `{"ID":"5dd6a1f0-2b9c","Containers":3,"ContainersRunning":1,"ContainersPaused":0,"ContainersStopped":2,"Images":5,
	"Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"],["Backing Filesystem","extfs"]],
	"Plugins":{"Volume":["local"],"Network":["bridge","host","null"],"Authorization":null,"Log":["json-file","none"]},
	"MemoryLimit":true,"SwapLimit":true,"CpuCfsPeriod":true,"CpuCfsQuota":true,"CPUShares":true,"CPUSet":true,"PidsLimit":true,"IPv4Forwarding":true,
	"Debug":%s,"NFd":24,"OomKillDisable":false,"NGoroutines":41,"SystemTime":"2026-01-02T03:04:05Z","LoggingDriver":"json-file","CgroupDriver":"cgroupfs","CgroupVersion":"1",
	"NEventsListener":0,"KernelVersion":"6.18.0","OperatingSystem":"Debian GNU/Linux 12 (bookworm)","OSVersion":"12","OSType":"linux","Architecture":"x86_64",
	"IndexServerAddress":"https://index.docker.io/v1/","RegistryConfig":{"InsecureRegistryCIDRs":["::1/128","127.0.0.0/8"],
		"IndexConfigs":{"docker.io":{"Name":"docker.io","Mirrors":["https://m.example/"],"Secure":true,"Official":true},"r.example:5000":{"Name":"r.example:5000","Secure":false}},"Mirrors":["https://m.example/"]},
	"NCPU":2,"MemTotal":4113760256,"DockerRootDir":"/var/lib/hoy","HttpProxy":"http://p.example:3128","HttpsProxy":"","NoProxy":"localhost","Name":"host1","Labels":["a=b"],
	"ExperimentalBuild":false,"ServerVersion":"0.1.0","Runtimes":{"hoy":{"path":"hoy-run"}},"DefaultRuntime":"hoy",
	"Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":true,"InitBinary":"","ContainerdCommit":{"ID":"abc"},"RuncCommit":{"ID":""},"InitCommit":{"ID":""},
	"SecurityOptions":["name=seccomp,profile=builtin","name=cgroupns"],"DefaultAddressPools":[{"Base":"172.31.240.0/20","Size":24}],
	"CDISpecDirs":["/etc/cdi","/var/run/cdi"],"Warnings":["WARNING: No swap limit support","WARNING: something"]}`

func TestInfoAsDocker(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, debug := range []string{"false", "true"} {
		s := difftest.Serve(t, difftest.Routes{"GET /info": {Body: fmt.Sprintf(infoJSON, debug)}})
		for _, verb := range []string{"info", "system info"} {
			want, got := s.Docker(t, "", strings.Fields(verb)...), s.Hoy(t, verbs, "", strings.Fields(verb)...)
			if serverPart(got.Out) != serverPart(want.Out) || got.Err != want.Err || got.Code != want.Code || serverPart(want.Out) == "" {
				t.Errorf("--- hoy\n%s%s\n--- docker\n%s%s", got.Out, got.Err, want.Out, want.Err)
			}
		}
	}
	minimal := difftest.Serve(t, difftest.Routes{"GET /info": {Body: `{"OSType":"linux","NCPU":1,"Swarm":{"LocalNodeState":"inactive"}}`}})
	if want, got := minimal.Docker(t, "", "info"), minimal.Hoy(t, verbs, "", "info"); serverPart(got.Out) != serverPart(want.Out) {
		t.Errorf("--- hoy\n%s%s\n--- docker\n%s%s", got.Out, got.Err, want.Out, want.Err)
	}
	routes := difftest.Routes{"GET /info": {Body: fmt.Sprintf(infoJSON, "false")}}
	for _, layout := range []string{"{{.ServerVersion}} {{.Driver}} {{.NCPU}}", "{{json .Plugins}}", "{{range .SecurityOptions}}{{.}} {{end}}", "{{.Nope}}"} {
		difftest.Compare(t, routes, verbs, "", "info", "--format", layout)
	}
}

func TestEventsAsDocker(t *testing.T) {
	const stream = `{"status":"start","id":"abc","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"busybox","name":"x","a.b":"<c>"}},"scope":"local","time":1767323045,"timeNano":1767323045123456789}
{"status":"pull","id":"busybox:latest","Type":"image","Action":"pull","Actor":{"ID":"busybox:latest","Attributes":{"name":"busybox"}},"scope":"local","time":1767323045,"timeNano":1767323045000000000}
{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{}},"scope":"local","time":1767323046,"timeNano":1767323046120000000}
{"Type":"daemon","Action":"reload","Actor":{"ID":"d","Attributes":null},"time":1767323047}
`
	routes := difftest.Routes{"GET /events": {Body: stream}}
	for _, args := range []string{
		"events --since 1767323000 --until 1767323050", "system events --until 1767323050", "events --until 1767323050 --format json",
		"events --until 1767323050 -f type=container --filter event=die", "events --until 1767323050 --format {{.Type}}/{{.Action}}/{{.Actor.ID}}/{{.Status}}/{{.ID}}/{{.From}}/{{.TimeNano}}",
		"events --until 1767323050 --format {{.Actor.Attributes.name}}", "events --format {{.ID", "events --since nonsense", "events x", "events --until 1767323050 --format {{.Nope}}",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, verbs, "", strings.Fields(args)...) })
	}
	refused := difftest.Routes{"GET /events": {Status: 400, Body: `{"message":"invalid filter 'x'"}`}}
	t.Run("refused", func(t *testing.T) { difftest.Compare(t, refused, verbs, "", "events", "-f", "x=y") })
}

func usageJSON() string {
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	return fmt.Sprintf(`{"LayersSize":170000000,
	"Images":[{"Id":"sha256:aaaaaaaaaaaabbbb","Created":%d,"Size":123456789,"SharedSize":0,"Containers":1,"RepoTags":["debian:latest"],"RepoDigests":[]},
		{"Id":"sha256:bbbbbbbbbbbbcccc","Created":%d,"Size":46543211,"SharedSize":0,"Containers":0,"RepoTags":[],"RepoDigests":[]}],
	"Containers":[{"Id":"ccccccccccccdddd","Names":["/web"],"Image":"debian","ImageID":"sha256:aaaaaaaaaaaabbbb","Command":"/bin/sh -c 'while true; do sleep 1; done'","Created":%d,"SizeRw":4096,"SizeRootFs":123460885,"State":"running","Status":"Up 3 hours","Mounts":[{"Type":"volume","Name":"data","Driver":"local"}],"Labels":{}},
		{"Id":"ddddddddddddeeee","Names":["/old","/web/alias"],"Image":"sha256:aaaaaaaaaaaabbbb","ImageID":"sha256:aaaaaaaaaaaabbbb","Command":"true","Created":%d,"SizeRw":1000000,"State":"exited","Status":"Exited (0) 2 days ago","Mounts":[],"Labels":null}],
	"Volumes":[{"Name":"data","Driver":"local","Scope":"local","Mountpoint":"/x","UsageData":{"Size":5000,"RefCount":1}},{"Name":"unused","Driver":"local","Scope":"local","UsageData":{"Size":7000,"RefCount":0}}],
	"BuildCache":[{"ID":"eeeeeeeeeeeeffff","Type":"regular","Description":"d","InUse":false,"Shared":false,"Size":2000,"CreatedAt":%q,"LastUsedAt":%q,"UsageCount":3},
		{"ID":"ffffffffffff0000","Type":"source.local","InUse":true,"Shared":true,"Size":300,"CreatedAt":%q,"LastUsedAt":null,"UsageCount":1}]}`,
		ago(50*time.Hour), ago(900*24*time.Hour), ago(3*time.Hour+time.Minute), ago(49*time.Hour),
		time.Now().Add(-50*time.Hour).Format(time.RFC3339), time.Now().Add(-26*time.Hour).Format(time.RFC3339), time.Now().Add(-75*time.Hour).Format(time.RFC3339))
}

func TestDiskUsageAsDocker(t *testing.T) {
	routes := difftest.Routes{"GET /system/df": {Body: usageJSON()}}
	for _, args := range []string{
		"system df", "system df -v", "system df --format json", "system df --format {{.Type}}:{{.TotalCount}}:{{.Active}}:{{.Size}}:{{.Reclaimable}}", "system df x",
	} {
		t.Run(args, func(t *testing.T) {
			difftest.Compare(t, routes, verbs, "", strings.Fields(args)...)
		})
	}
	got := difftest.Serve(t, routes).Hoy(t, verbs, "", "system", "df", "-v", "--format", "{{range .Images}}{{.Repository}}:{{.UniqueSize}};{{end}}")
	if want := "debian:123.5MB;<none>:46.54MB;\n"; got.Out != want {
		t.Errorf("got %q, want %q", got.Out, want)
	}
	empty := difftest.Routes{"GET /system/df": {Body: `{"LayersSize":0,"Images":[],"Containers":[],"Volumes":[],"BuildCache":[]}`}}
	t.Run("empty", func(t *testing.T) { difftest.Compare(t, empty, verbs, "", "system", "df") })
	t.Run("empty, verbose", func(t *testing.T) { difftest.Compare(t, empty, verbs, "", "system", "df", "-v") })
}

func TestPruneAsDocker(t *testing.T) {
	routes := difftest.Routes{
		"POST /containers/prune": {Body: `{"ContainersDeleted":["abc","def"],"SpaceReclaimed":1000}`},
		"POST /networks/prune":   {Body: `{"NetworksDeleted":["n"]}`},
		"POST /volumes/prune":    {Body: `{"VolumesDeleted":["v"],"SpaceReclaimed":2000}`},
		"POST /images/prune":     {Body: `{"ImagesDeleted":[{"Untagged":"a:latest"},{"Deleted":"sha256:1"}],"SpaceReclaimed":3000}`},
		"POST /build/prune":      {Body: `{"CachesDeleted":["c1"],"SpaceReclaimed":4000}`},
	}
	for _, args := range []string{
		"system prune", "system prune -a", "system prune --volumes", "system prune -a --volumes --filter label=x --filter label!=y",
		"system prune --filter until=24h", "system prune --volumes --filter until=24h", "system prune x",
	} {
		for _, answer := range []string{"y\n", "n\n"} {
			t.Run(args+" "+answer, func(t *testing.T) { difftest.Compare(t, routes, verbs, answer, strings.Fields(args)...) })
		}
		t.Run(args+" -f", func(t *testing.T) {
			difftest.Compare(t, routes, verbs, "", append(strings.Fields(args), "-f")...)
		})
	}
}

func TestPruneWithoutBuilds(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{
		"POST /containers/prune": {Body: `{"ContainersDeleted":["abc"],"SpaceReclaimed":1000}`},
		"POST /networks/prune":   {Status: 501, Body: `{"message":"user-defined networks come later"}`},
		"POST /images/prune":     {Body: `{"ImagesDeleted":null,"SpaceReclaimed":0}`},
		"POST /build/prune":      {Status: 501, Body: `{"message":"builds come later"}`},
	})
	got := s.Hoy(t, verbs, "", "system", "prune", "-f")
	if want := "Deleted Containers:\nabc\n\nTotal reclaimed space: 1kB\n"; got.Out != want || got.Err != "" || got.Code != 0 {
		t.Errorf("got %+v", got)
	}
}
