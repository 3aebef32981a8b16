package containers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func build(app *cli.App, root *cobra.Command) {
	root.AddCommand(Commands(app)...)
	root.AddCommand(Management(app))
}

// TestCreateAsksAsDocker compares what create sends for every flag with what the
// docker command line sends. Empty values are the same as none: the engine treats
// them alike.
func TestCreateAsksAsDocker(t *testing.T) {
	t.Setenv("FROM_OUTSIDE", "yes")
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := write("env", "# comment\nA=1\n  B=two words \nFROM_OUTSIDE\nNOT_SET\nE=\n")
	labels := write("labels", "x=1\ny\n")
	seccomp := write("seccomp.json", "{\n \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n")
	t.Chdir(dir)
	s := difftest.Serve(t, difftest.Routes{"POST /containers/create": {Status: 201, Body: `{"Id":"abc"}`}})
	for _, line := range []string{
		"img",
		"img cmd -x --flag",
		"-i img", "-t img", "-it img sh", "-a stdin -a STDOUT img", "-i -a stderr img",
		"-e A=b -e FROM_OUTSIDE -e NOT_SET -e X= img", "--env-file " + env + " -e A=2 img",
		"-l a=b -l c --label d= img", "--label-file " + labels + " -l x=2 img", "--annotation k=v img",
		"-u 1000:100 -w /w -h host --domainname example.org img", "--entrypoint /bin/sh img -c x", "--entrypoint= img x",
		"--stop-signal USR1 --stop-timeout 7 img", "--group-add 5 --group-add audio img",
		"-v /a:/b:ro -v name:/c -v /anon -v ./rel:/d img", "--volumes-from c1:ro --volumes-from c2 --volume-driver x img",
		"--tmpfs /run:size=1m,mode=700 --tmpfs /tmp img",
		"--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rslave,bind-nonrecursive img",
		"--mount type=bind,src=/a,dst=/b,readonly=true,bind-recursive=writable img",
		"--mount source=v,target=/t,volume-nocopy,volume-label=a=b,volume-opt=o=x,volume-opt=type=nfs,volume-driver=local,volume-subpath=s img",
		"--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 img", "--mount type=image,src=i,dst=/t,image-subpath=x img",
		"-p 80 -p 8080:81 -p 127.0.0.1:90:90/udp -p 1000-1002:2000-2002 -p [::1]:5:5 --expose 70 --expose 71-73/udp img",
		"-p target=80,published=8081 -p target=53,protocol=udp img", "-P img",
		"--network host img", "--network none img", "--network container:x img", "--network bridge img",
		"--network n1 --ip 10.0.0.5 --ip6 fd00::5 --mac-address 02:42:ac:11:00:02 --network-alias a --network-alias b img",
		"--network name=n1,alias=a,ip=10.1.2.3,driver-opt=k=v,gw-priority=3 --network n2 img",
		"--network n1 --link a:b --link-local-ip 169.254.1.1 img", "--link other img", "--net n1 --net-alias z img",
		"--dns 1.1.1.1 --dns fd00::53 --dns-search example.org --dns-search . --dns-option ndots:2 img",
		"--add-host a:1.2.3.4 --add-host b:host-gateway --add-host c=::1 --add-host d:[::2] img",
		"--restart always img", "--restart on-failure:3 img", "--restart unless-stopped img", "--rm img",
		"-m 64m --memory-swap -1 --memory-reservation 32m --memory-swappiness 10 --oom-kill-disable --oom-score-adj 500 img",
		"--memory 1.5g --memory-swap 2g img", "--cpus 1.5 --cpu-shares 512 --cpu-period 1000 --cpuset-cpus 0,1 --cpuset-mems 0 img",
		"--cpu-quota 5000 -c 2 --cpu-rt-period 10 --cpu-rt-runtime 5 img",
		"--blkio-weight 300 --blkio-weight-device /dev/a:200 --device-read-bps /dev/a:1mb --device-write-bps /dev/a:5 --device-read-iops /dev/a:10 --device-write-iops /dev/b:20 img",
		"--pids-limit 100 img", "--pids-limit -1 img", "--ulimit nofile=1024:2048 --ulimit core=0 --ulimit nofile=10 img",
		"--cap-add NET_ADMIN --cap-add cap_sys_time --cap-drop all --privileged --read-only img", "--init img", "--init=false img",
		"--security-opt seccomp=unconfined --security-opt no-new-privileges --security-opt apparmor=x img",
		"--security-opt seccomp=" + seccomp + " --security-opt systempaths=unconfined img", "--security-opt label:disable img",
		"--sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=5 img", "--shm-size 128m --storage-opt size=1g img",
		"--device /dev/null --device /dev/zero:/dev/z:r --device /dev/full:rw --device vendor.com/class=dev img",
		"--device-cgroup-rule 'c 1:* rwm' img", "--ipc host --pid host --uts host --userns host --cgroupns private --cgroup-parent /x img",
		"--ipc container:a --pid container:a --runtime runc img", "--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 img",
		"--health-cmd 'curl x' --health-interval 5s --health-timeout 1s --health-retries 2 --health-start-period 3s --health-start-interval 1s img",
		"--no-healthcheck img", "--name n --platform linux/arm64 img", "--isolation default img", "--pull never img",
	} {
		args := append([]string{"create"}, words(line)...)
		want, got := s.Docker(t, "", args...), s.Hoy(t, build, "", args...)
		if want.Code != 0 || got.Code != 0 {
			t.Errorf("%s: exit code %d, docker's %d\n%s%s", line, got.Code, want.Code, got.Err, want.Err)
			continue
		}
		compareRequests(t, line, got.Asked, want.Asked)
	}
}

// words splits at spaces, except within single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func compareRequests(t *testing.T, line string, got, want []string) {
	t.Helper()
	if len(got) != 1 || len(want) != 1 {
		t.Errorf("%s: asked %q, docker %q", line, got, want)
		return
	}
	gotURL, gotBody, _ := strings.Cut(got[0], " {")
	wantURL, wantBody, _ := strings.Cut(want[0], " {")
	if gotURL != wantURL {
		t.Errorf("%s: asked %s, docker %s", line, gotURL, wantURL)
	}
	g, w := decode(t, gotBody), decode(t, wantBody)
	if w["/HostConfig/MemorySwappiness"] == -1.0 { // docker's way to say that it was not given
		delete(w, "/HostConfig/MemorySwappiness")
	}
	for _, body := range []map[string]any{g, w} {
		for _, key := range []string{"/Env", "/HostConfig/Binds"} { // docker's order changes from run to run
			env, _ := body[key].([]any)
			slices.SortFunc(env, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
	}
	for _, key := range union(g, w) {
		if !reflect.DeepEqual(g[key], w[key]) {
			t.Errorf("%s: %s is %v, docker's %v", line, key, g[key], w[key])
		}
	}
}

func union(a, b map[string]any) []string {
	var keys []string
	for key := range a {
		keys = append(keys, key)
	}
	for key := range b {
		if _, both := a[key]; !both {
			keys = append(keys, key)
		}
	}
	return keys
}

// decode flattens an object to path → value and drops what is empty.
func decode(t *testing.T, body string) map[string]any {
	t.Helper()
	var tree any
	if err := json.Unmarshal([]byte("{"+body), &tree); err != nil {
		t.Fatal(err)
	}
	flat := map[string]any{}
	flatten(flat, "", tree)
	return flat
}

func flatten(flat map[string]any, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, sub := range v {
			// A set of names, and the networks: the key itself is the value.
			if m, ok := sub.(map[string]any); ok && len(m) == 0 {
				flat[path+"/"+key] = "{}"
				continue
			}
			flatten(flat, path+"/"+key, sub)
		}
	case []any:
		if len(v) > 0 {
			flat[path] = v
		}
	case nil:
	default:
		if !reflect.ValueOf(v).IsZero() {
			flat[path] = v
		}
	}
}

// TestRefusalsAsDocker compares the first line of what is refused before the
// daemon is asked, and the exit code, with the docker command line.
func TestRefusalsAsDocker(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("A B=c\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := difftest.Serve(t, difftest.Routes{"POST /containers/create": {Status: 201, Body: `{"Id":"abc"}`}})
	for _, line := range []string{
		"run -m x img", "run --memory-swap -2 img", "run --cpus x img", "run --cpus 1.0000000001 img", "run -a x img",
		"run --ulimit x img", "run --ulimit nofile=5:1 img", "run --mount x img", "run --mount type=bind,src=/a img",
		"run --mount type=bind,dst=/a,volume-nocopy img", "run --mount type=bind,src=/a,dst=/b,bind-recursive=x img",
		"run --mount dst=/a,ro=maybe img", "run --mount dst=/a,nope=1 img", "run --mount type=tmpfs,dst=/a,tmpfs-size=x img",
		"run -p x img", "run -p 1:2:3:4 img", "run -p 1-3:1-2 img", "run -p 99999 img", "run -p 80/foo img",
		"run --expose 1:2 img",
		"run --pid x img", "run --uts x img", "run --userns x img", "run --cgroupns x img", "run --memory-swappiness 101 img",
		"run --restart x:y img", "run --restart always --rm img", "run --restart :1 img",
		"run --security-opt x img", "run --security-opt seccomp=/nonexistent img", "run --storage-opt x img", "run --sysctl x=y img",
		"run --device-cgroup-rule x img",
		"run --device-read-bps x img", "run --device-read-bps /x:1 img", "run --device-read-bps /dev/x:y img", "run --device-read-iops /dev/x:1mb img",
		"run --blkio-weight-device /dev/x:5 img", "run --blkio-weight-device x img", "run --blkio-weight 70000 img",
		"run --add-host x img", "run --add-host x:y img", "run --dns x img", "run --dns-search - img", "run --link a:b:c img", "run --link '' img",
		"run -e =x img", "run -l =x img", "run --env-file " + bad + " img", "run --env-file /nonexistent img", "run --label-file /nonexistent img",
		"run --mac-address x img", "run --network a --network a img", "run --network a --network host img",
		"run --network name=a,x=y img", "run --network alias=y img", "run --network name=a,ip=1.2.3.4 --ip 1.2.3.5 img", "run --network-alias x img",
		"run --no-healthcheck --health-cmd x img", "run --health-interval -5s img", "run --health-retries -1 img",
		"run --log-driver none --log-opt a=b img", "run -d -a stdout img", "run --pull x img", "run --cidfile " + bad + " img",
		"run --nope img", "run -Z img", "create -m x img", "create --pull x img", "exec --nope c x", "ps --nope", "rm --force=x c",
		"stop -t x c", "stop -t 1 --time 2 c", "update c", "update -m x c", "update --restart x:y c", "start -a a b", "cp a b", "cp a:b c:d", "cp '' a:b",
		"rename '' x", "wait --nope",
	} {
		args := words(line)
		want, got := s.Docker(t, "", args...), s.Hoy(t, build, "", args...)
		first := func(text string) string {
			line, _, _ := strings.Cut(text, "\n")
			return strings.TrimSuffix(strings.Replace(line, "docker: ", "hoy: ", 1), ".")
		}
		if g, w := first(got.Err), first(want.Err); g != w || got.Code != want.Code {
			t.Errorf("%s:\n  hoy    %3d %s\n  docker %3d %s", line, got.Code, g, want.Code, w)
		}
	}
}
