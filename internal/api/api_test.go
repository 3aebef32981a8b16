package api

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/net/websocket"
	"golang.org/x/sys/unix"

	"hoy/internal/filter"
	"hoy/internal/log"
	"hoy/internal/request"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// socketpair is two ends of a connection that can be closed one way.
func socketpair() (a, b net.Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f)
		_ = f.Close()
		if err != nil {
			panic(err)
		}
	}
	return conns[0], conns[1]
}

type fixture struct {
	http.Handler
	calls      *calls
	containers *doubleContainers
	execs      *doubleExecs
	images     *doubleImages
}

func newFixture(watchers ...Watcher) *fixture {
	c := &calls{}
	f := &fixture{
		calls: c, containers: &doubleContainers{calls: c, waiting: make(chan container.WaitResponse, 1)},
		execs: &doubleExecs{calls: c}, images: &doubleImages{calls: c},
	}
	f.Handler = New(Options{
		Containers: f.containers, Execs: f.execs, Images: f.images,
		Volumes: &doubleVolumes{calls: c}, Networks: &doubleNetworks{calls: c}, System: &doubleSystem{calls: c},
		Log: slog.New(slog.DiscardHandler), Watchers: watchers,
	})
	return f
}

func (f *fixture) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func TestRefusals(t *testing.T) {
	swarm := `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"GET", "/v1.99/info", "", 400, "client version 1.99 is too new. Maximum supported API version is 1.55"},
		{"GET", "/v2.1/info", "", 400, "client version 2.1 is too new. Maximum supported API version is 1.55"},
		{"GET", "/v1.12/info", "", 400, "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"GET", "/nowhere", "", 404, "page not found"},
		{"GET", "/v1.41/nowhere", "", 404, "page not found"},
		{"PATCH", "/v1.41/containers/json", "", 404, "page not found"},
		{"GET", "/images/x/nothing", "", 404, "page not found"},
		{"GET", "/volumes?a=%zz", "", 400, `invalid query: invalid URL escape "%zz"`},
		{"POST", "/containers/create", "", 400, "invalid JSON: got EOF while reading request body"},
		{"POST", "/containers/create", "{}", 400, "config cannot be empty in order to create a container"},
		{"POST", "/containers/create", `{"Image":"x"`, 400, "invalid JSON: got EOF while reading request body"},
		{"POST", "/containers/create", `{"Image":"x"} {}`, 400, "unexpected content after JSON"},
		{"POST", "/containers/create", `{"Image":5}`, 400, "invalid JSON: field Image: got number where a string is expected"},
		{"POST", "/containers/create", `{"Image":"x","HostConfig":{"Memory":"1g"}}`, 400, "invalid JSON: field HostConfig.Memory: got string where a whole number is expected"},
		{"POST", "/containers/create", `{"Image":"x","HostConfig":[]}`, 400, "invalid JSON: field HostConfig: got array where an object is expected"},
		{"POST", "/containers/create?platform=a/b/c/d/e", `{"Image":"x"}`, 400, ""},
		{"POST", "/v1.43/containers/create", `{"Image":"x","NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}`, 400, "Container cannot be created with multiple network endpoints"},
		{"POST", "/containers/nope/start", "", 404, "No such container: nope"},
		{"POST", "/containers/web/start", `{"Binds":["a:b"]}`, 400, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"},
		{"POST", "/containers/web/stop?t=soon", "", 400, `invalid value for t: "soon" is not a whole number`},
		{"POST", "/containers/web/rename", "", 400, "Neither old nor new names may be empty"},
		{"POST", "/containers/web/resize?h=a&w=1", "", 400, `invalid resize h: "a" is not a number of characters`},
		{"POST", "/containers/web/wait?condition=later", "", 400, `invalid condition: "later"`},
		{"GET", "/containers/web/logs", "", 400, "Bad parameters: you must choose at least one stream"},
		{"GET", "/containers/web/logs?stdout=1&since=noon", "", 400, `invalid value for since: "noon" is not a time in seconds since 1970`},
		{"GET", "/containers/web/stats?stream=1&one-shot=1", "", 400, "cannot have stream=true and one-shot=true"},
		{"GET", "/containers/web/archive", "", 400, "bad parameter: path cannot be empty"},
		{"POST", "/containers/web/attach?detachKeys=ctrl-%21", "", 400, ""},
		{"GET", "/containers/json?filters=%7B%22nope%22%3A%5B%22a%22%5D%7D", "", 400, ""},
		{"GET", "/containers/json?limit=few", "", 400, `invalid value for limit: "few" is not a whole number`},
		{"POST", "/containers/web/exec", `{"Cmd":[]}`, 400, "No exec command specified"},
		{"POST", "/exec/e2/start", `{}`, 404, "No such exec instance: e2"},
		{"POST", "/images/create", "", 400, "one of the parameters fromImage and fromSrc must be given"},
		{"POST", "/images/create?fromImage=UPPER", "", 400, "invalid reference format: repository name (library/UPPER) must be lowercase"},
		{"POST", "/images/create?fromSrc=file:///etc/passwd", "", 400, `invalid import source "file:///etc/passwd": must be -, or an http or https address`},
		{"POST", "/images/create?fromSrc=-&repo=a%40sha256:0000000000000000000000000000000000000000000000000000000000000000", "", 400, "cannot import digest reference"},
		{"GET", "/images/get", "", 400, "no images to save: parameter names is missing"},
		{"GET", "/images/x/json?manifests=1&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D", "", 400, "conflicting options: manifests and platform options cannot both be set"},
		{"GET", "/images/search?term=x", "", 501, ""},
		{"POST", "/networks/create", `{"Name":"n"}`, 501, "user-defined networks are not implemented in this engine yet"},
		{"GET", "/system/df?type=shoes", "", 400, "unknown object type: shoes"},
		{"GET", "/events?since=2&until=1", "", 400, "`since` time (2) cannot be after `until` time (1)"},
		{"POST", "/build", "", 501, ""}, {"POST", "/session", "", 501, ""}, {"POST", "/plugins/pull", "", 501, ""},
		{"GET", "/services", "", 503, swarm}, {"GET", "/nodes/x", "", 503, swarm}, {"GET", "/swarm", "", 503, swarm},
		{"POST", "/swarm/init", "{}", 501, "swarm mode is not implemented in this engine"},
		{"GET", "/containers/panic/json", "", 500, "internal error: the engine's log has the details"},
	} {
		w := newFixture().do(c.method, c.path, c.body)
		var answer struct{ Message string }
		err := json.Unmarshal(w.Body.Bytes(), &answer)
		if w.Code != c.status || err != nil || answer.Message == "" || c.message != "" && answer.Message != c.message {
			t.Errorf("%s %s %s: %d %q, want %d %q", c.method, c.path, c.body, w.Code, w.Body, c.status, c.message)
		}
	}
}

func TestBodyMustBeJSONAndBounded(t *testing.T) {
	f := newFixture()
	if w := f.do("POST", "/containers/create", `{"Image":"x"}`, "Content-Type", "text/plain"); w.Code != 400 {
		t.Errorf("text/plain: %d %s", w.Code, w.Body)
	}
	huge := `{"Image":"x","Env":["` + strings.Repeat("a", 9<<20) + `"]}`
	if w := f.do("POST", "/containers/create", huge); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("9 MB: %d %.200s", w.Code, w.Body)
	}
	if w := f.do("POST", "/images/create?fromImage=x", "", "X-Registry-Auth", "!!"); w.Code != 400 {
		t.Errorf("bad credentials header: %d", w.Code)
	}
}

func TestErrorClassesBecomeStatuses(t *testing.T) {
	for err, want := range map[error]int{
		errdefs.ErrNotFound: 404, errdefs.ErrInvalidArgument: 400, errdefs.ErrConflict: 409, errdefs.ErrAlreadyExists: 409,
		errdefs.ErrNotModified: 304, errdefs.ErrNotImplemented: 501, errdefs.ErrUnavailable: 503, errdefs.ErrPermissionDenied: 403,
		errdefs.ErrUnauthenticated: 401, errdefs.ErrFailedPrecondition: 409, errors.New("what"): 500,
	} {
		f := newFixture()
		f.calls.fail = err
		if w := f.do("POST", "/containers/web/start", ""); w.Code != want {
			t.Errorf("%v: %d, want %d", err, w.Code, want)
		}
	}
}

func TestDecode(t *testing.T) {
	ten := 10
	auth := "eyJ1c2VybmFtZSI6ImoiLCJwYXNzd29yZCI6InAifQ"
	for _, c := range []struct {
		method, path, body, call string
		want                     []any
	}{
		{"POST", "/v1.43/containers/web/stop?t=10&signal=INT", "", "stop", []any{"web", request.Stop{Signal: "INT", Timeout: &ten}}},
		{"POST", "/v1.41/containers/web/stop?signal=INT", "", "stop", []any{"web", request.Stop{}}},
		{"POST", "/containers/web/kill", "", "kill", []any{"web", "SIGKILL"}},
		{"POST", "/containers/web/rename?name=/new", "", "rename", []any{"web", "new"}},
		{"POST", "/containers/web/resize?h=24&w=80", "", "resize", []any{"web", uint32(24), uint32(80)}},
		{"DELETE", "/containers/web?v=1&force=true&link=0", "", "remove", []any{"web", request.Remove{Force: true, Volumes: true}}},
		{"GET", "/containers/json?all=1&limit=-1&size=1", "", "list", []any{request.List{All: true, Size: true}}},
		{"GET", "/containers/web/stats?stream=0", "", "stats", []any{request.Stats{}}},
		{"GET", "/v1.40/containers/web/stats?stream=0&one-shot=1", "", "stats", []any{request.Stats{}}},
		{"GET", "/containers/web/logs?stdout=1&tail=5&since=1.5&follow=1", "", "logs", []any{request.Logs{Stdout: true, Follow: true, Tail: 5, Since: time.Unix(1, 5e8)}}},
		{"GET", "/containers/web/logs?stderr=1&tail=all", "", "logs", []any{request.Logs{Stderr: true, Tail: -1}}},
		{"POST", "/commit?container=web&repo=r&tag=t&changes=A&changes=B", "", "commit", []any{request.Commit{Container: "web", Repo: "r", Tag: "t", Pause: true, Changes: []string{"A", "B"}}}},
		{"POST", "/commit?container=web&pause=0", "{}", "commit", []any{request.Commit{Container: "web", Config: &container.Config{}}}},
		{"PUT", "/containers/web/archive?path=/a%20b&copyUIDGID=1", "tar", "put", []any{"/a b", request.PutArchive{CopyUIDGID: true}, "tar"}},
		{"POST", "/images/a/b/c:1/tag?repo=h:5000/x&tag=2", "", "tag", []any{"a/b/c:1", "h:5000/x", "2"}},
		{"DELETE", "/images/h:5000/x:2?force=1&noprune=1", "", "imageRemove", []any{"h:5000/x:2", request.ImageRemove{Force: true, NoPrune: true}}},
		{"POST", "/images/create?fromImage=alpine&tag=3", "", "pull", []any{"alpine:3", request.ImageTransfer{}}},
		{"POST", "/images/create?fromImage=alpine", "", "pull", []any{"alpine", request.ImageTransfer{AllTags: true}}},
		{"POST", "/images/create?fromSrc=-&repo=r&tag=t&changes=CMD+x&message=m", "tar", "import", []any{"tar", request.ImageImport{Ref: "r:t", Message: "m", Changes: []string{"CMD x"}}}},
		{"GET", "/images/get?names=a&names=b,c", "", "save", []any{[]string{"a", "b", "c"}}},
		{"GET", "/images/h/x:1/get", "", "save", []any{[]string{"h/x:1"}}},
		{"GET", "/v1.40/images/json?filter=alp", "", "images", []any{request.ImageList{Filters: filter.Args{"reference": {"alp"}}}}},
		{"POST", "/v1.41/volumes/prune", "", "volumePrune", []any{filter.Args{"all": {"true"}}}},
		{"POST", "/v1.42/volumes/prune", "", "volumePrune", []any{filter.Args(nil)}},
		{"GET", "/v1.41/system/df", "", "df", []any{request.Usage{Verbose: true}}},
		{"GET", "/system/df?type=image&type=volume", "", "df", []any{request.Usage{Images: true, Volumes: true}}},
	} {
		f := newFixture()
		w := f.do(c.method, c.path, c.body)
		if w.Code >= 300 || f.calls.last != c.call || !reflect.DeepEqual(f.calls.args, c.want) {
			t.Errorf("%s %s: %d %s; called %s%+v, want %s%+v", c.method, c.path, w.Code, w.Body, f.calls.last, f.calls.args, c.call, c.want)
		}
	}
	f := newFixture()
	f.do("POST", "/images/h/x/push?tag=1", "", "X-Registry-Auth", auth+"==")
	opt, _ := f.calls.args[1].(request.ImageTransfer)
	if opt.Auth == nil || opt.Auth.Username != "j" || f.calls.args[0] != "h/x:1" {
		t.Errorf("push got %v", f.calls.args)
	}
}

func TestCreateByVersion(t *testing.T) {
	body := `{"Image":"x","Cmd":"ls","Entrypoint":["/e"],"MacAddress":"02:42:ac:11:00:02","Unknown":{"a":1},
		"HostConfig":{"AutoRemove":true,"ConsoleSize":[5,6],"KernelMemory":7,"Annotations":{"a":"b"}}}`
	create := func(version string) request.Create {
		f := newFixture()
		if w := f.do("POST", version+"/containers/create?name=/web", body); w.Code != 201 {
			t.Fatalf("%s: %d %s", version, w.Code, w.Body)
		}
		return f.calls.args[0].(request.Create)
	}
	old, now := create("/v1.24"), create("/v1.55")
	if old.Name != "web" || !reflect.DeepEqual(old.Config.Cmd, []string{"ls"}) || !reflect.DeepEqual(old.Config.Entrypoint, []string{"/e"}) {
		t.Errorf("command: %+v", old.Config)
	}
	if old.HostConfig.AutoRemove || !now.HostConfig.AutoRemove {
		t.Error("AutoRemove is of 1.25")
	}
	if old.HostConfig.IpcMode != "shareable" || now.HostConfig.IpcMode != "" {
		t.Error("shareable was the default until 1.40")
	}
	if old.HostConfig.ConsoleSize != [2]uint{} || now.HostConfig.ConsoleSize != [2]uint{5, 6} {
		t.Error("ConsoleSize is of 1.42")
	}
	if old.HostConfig.Annotations != nil || now.HostConfig.Annotations == nil {
		t.Error("Annotations are of 1.43")
	}
	if ep := old.Networking.EndpointsConfig["bridge"]; ep == nil || ep.MacAddress.String() != "02:42:ac:11:00:02" {
		t.Errorf("the container's MAC address belongs to its endpoint: %+v", old.Networking)
	}
	if len(now.Networking.EndpointsConfig) != 0 {
		t.Error("since 1.52 the container has no MAC address")
	}
}

func TestShapesByVersion(t *testing.T) {
	get := func(path string) map[string]any {
		w := newFixture().do("GET", path, "")
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		if l, ok := v.([]any); ok {
			return l[0].(map[string]any)
		}
		return v.(map[string]any)
	}
	at := func(v map[string]any, path ...string) any {
		var x any = v
		for _, p := range path {
			m, _ := x.(map[string]any)
			x = m[p]
		}
		return x
	}
	for _, c := range []struct {
		path string
		at   []string
		want any
	}{
		{"/v1.41/containers/web/json", []string{"NetworkSettings", "IPAddress"}, "10.1.2.3"},
		{"/v1.41/containers/web/json", []string{"NetworkSettings", "Gateway"}, "10.1.2.1"},
		{"/v1.41/containers/web/json", []string{"HostConfig", "KernelMemory"}, 0.0},
		{"/v1.41/containers/web/json", []string{"GraphDriver", "Name"}, "overlayfs"},
		{"/v1.41/containers/web/json", []string{"Config", "Image"}, "x"},
		{"/v1.41/containers/web/json", []string{"Name"}, "/web"},
		{"/v1.44/containers/web/json", []string{"NetworkSettings", "Networks", "bridge", "Aliases"}, []any{"w", "abababababab"}},
		{"/v1.45/containers/web/json", []string{"NetworkSettings", "Networks", "bridge", "Aliases"}, []any{"w"}},
		{"/v1.52/containers/web/json", []string{"NetworkSettings", "IPAddress"}, nil},
		{"/v1.43/images/json", []string{"VirtualSize"}, 7.0},
		{"/v1.44/images/json", []string{"VirtualSize"}, nil},
		{"/v1.42/images/json", []string{"RepoTags"}, []any{"<none>:<none>"}},
		{"/v1.50/images/json", []string{"Containers"}, -1.0},
		{"/v1.51/images/json", []string{"Containers"}, 3.0},
		{"/v1.44/images/x/json", []string{"ContainerConfig", "Hostname"}, ""},
		{"/v1.45/images/x/json", []string{"ContainerConfig"}, nil},
		{"/v1.49/images/x/json", []string{"Config", "Hostname"}, ""},
		{"/v1.50/images/x/json", []string{"Config", "Hostname"}, nil},
		{"/v1.27/networks", []string{"Containers", "abc", "Name"}, ""},
		{"/v1.28/networks", []string{"Containers", "abc"}, nil},
		{"/v1.41/system/df", []string{"LayersSize"}, 7.0},
		{"/v1.41/system/df", []string{"ImageUsage"}, nil},
		{"/v1.52/system/df", []string{"LayersSize"}, 7.0},
		{"/v1.52/system/df", []string{"ImageUsage", "TotalSize"}, 7.0},
		{"/v1.52/system/df", []string{"ImageUsage", "Items"}, nil},
		{"/v1.53/system/df", []string{"LayersSize"}, nil},
		{"/v1.51/events", []string{"status"}, "start"},
		{"/v1.51/events", []string{"from"}, "x"},
		{"/v1.52/events", []string{"status"}, nil},
		{"/v1.41/info", []string{"BridgeNfIptables"}, false},
		{"/v1.50/info", []string{"BridgeNfIptables"}, nil},
	} {
		if got := at(get(c.path), c.at...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %v = %v, want %v", c.path, c.at, got, c.want)
		}
	}
}

func TestPing(t *testing.T) {
	w := newFixture().do("HEAD", "/_ping", "")
	for name, want := range map[string]string{
		"Api-Version": "1.55", "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "1", "Swarm": "inactive",
		"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(w.Header().Get("Server"), "hoy/") || w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("ping: %d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestLogsAreFramed(t *testing.T) {
	f := newFixture()
	at := time.Unix(1, 5)
	f.containers.entries = []log.Entry{
		{Stream: "stdout", Time: at, Line: []byte("one\n")},
		{Stream: "stderr", Time: at, Line: []byte("two\n"), Attrs: map[string]string{"b": "2,", "a": "1"}},
	}
	w := f.do("GET", "/containers/web/logs?stdout=1&stderr=1&timestamps=1&details=1", "")
	stamp := "1970-01-01T00:00:01.000000005Z "
	want := frame(1, stamp+" one\n") + frame(2, stamp+"a=1,b=2%2C two\n")
	if w.Body.String() != want || w.Header().Get("Content-Type") != "application/vnd.docker.multiplexed-stream" {
		t.Errorf("%q %v, want %q", w.Body, w.Header(), want)
	}
	f.containers.entries = append(f.containers.entries, f.containers.entries[1], f.containers.entries[0])
	w = f.do("GET", "/containers/web/logs?stdout=1&stderr=1", "", "X-Hoy-Merge-Logs", "1")
	if want := frame(1, "one\n") + frame(2, "two\ntwo\n") + frame(1, "one\n"); w.Body.String() != want {
		t.Errorf("merged: %q, want %q", w.Body, want)
	}
	f.containers.entries = f.containers.entries[:2]
	f.containers.tty = true
	w = f.do("GET", "/v1.41/containers/web/logs?stdout=1&stderr=1", "")
	if w.Body.String() != "one\ntwo\n" || w.Header().Get("Content-Type") != "application/vnd.docker.raw-stream" {
		t.Errorf("terminal: %q %v", w.Body, w.Header())
	}
}

func frame(kind byte, text string) string {
	head := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head) + text
}

func TestProgress(t *testing.T) {
	f := newFixture()
	f.calls.fail = errdefs.ErrNotFound.WithMessage("manifest unknown")
	if w := f.do("POST", "/images/create?fromImage=x&tag=1", ""); w.Code != 404 {
		t.Errorf("an error before any progress is a status, got %d", w.Code)
	}
	f.calls.fail, f.images.steps, f.images.late = nil, []string{"Pulling"}, errors.New("cut off")
	w := f.do("POST", "/images/create?fromImage=x&tag=1", "")
	want := "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"cut off\"},\"error\":\"cut off\"}\r\n"
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
	if w := f.do("POST", "/images/load?quiet=1", "tar"); w.Body.String() != "{\"stream\":\"Loaded image: x:latest\\n\"}\r\n" {
		t.Errorf("quiet load: %q", w.Body)
	}
}

// serveUnix serves the handler on a unix socket, as the daemon does.
func serveUnix(t *testing.T, h http.Handler) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, slog.New(slog.DiscardHandler))
	go s.Serve(l)
	t.Cleanup(func() { _ = s.Close() })
	return path
}

func TestHalfAnswerIsCut(t *testing.T) {
	path := serveUnix(t, newFixture())
	hc := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	answer, err := hc.Get("http://x/containers/half/export")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); err == nil {
		t.Errorf("%d bytes of a failed export looked whole", n)
	}
}

// echo answers each line in capitals and says bye at the end of the input.
func echo(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		_, _ = io.WriteString(c, frame(1, strings.ToUpper(lines.Text())+"\n"))
	}
	_, _ = io.WriteString(c, frame(2, "bye\n"))
}

func TestAttachHijacks(t *testing.T) {
	f := newFixture()
	f.containers.process = echo
	path := serveUnix(t, f)
	for _, c := range []struct{ upgrade, status string }{{"Connection: Upgrade\r\nUpgrade: tcp\r\n", "HTTP/1.1 101 UPGRADED"}, {"", "HTTP/1.1 200 OK"}} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		// The first input comes in the same packet as the request.
		_, _ = io.WriteString(conn, "POST /v1.45/containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n"+c.upgrade+"\r\nhello\n")
		in := bufio.NewReader(conn)
		status, _ := in.ReadString('\n')
		if strings.TrimSpace(status) != c.status {
			t.Fatalf("status %q, want %q", status, c.status)
		}
		for line := ""; line != "\r\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = io.WriteString(conn, "more\n")
		_ = conn.(*net.UnixConn).CloseWrite()
		rest, err := io.ReadAll(in)
		if want := frame(1, "HELLO\n") + frame(1, "MORE\n") + frame(2, "bye\n"); err != nil || string(rest) != want {
			t.Errorf("got %q, %v; want %q", rest, err, want)
		}
		_ = conn.Close()
	}
}

func mobyClient(t *testing.T, f http.Handler) *client.Client {
	t.Helper()
	cli, err := client.New(client.WithHost("unix://" + serveUnix(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

func TestDetachKeysOnTerminal(t *testing.T) {
	f := newFixture()
	f.containers.tty = true
	got := make(chan string, 1)
	f.containers.process = func(c net.Conn) {
		all, _ := io.ReadAll(c)
		got <- string(all)
	}
	cli := mobyClient(t, f)
	st, err := cli.ContainerAttach(t.Context(), "web", client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, DetachKeys: "ctrl-a,b"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_, _ = st.Conn.Write([]byte("x\x01y\x01\x01b never"))
	if rest, err := io.ReadAll(st.Reader); err != nil || len(rest) != 0 {
		t.Errorf("after the detach keys: %q %v", rest, err)
	}
	if typed := <-got; typed != "x\x01y\x01" {
		t.Errorf("the process got %q", typed)
	}
}

func TestMobyClient(t *testing.T) {
	f := newFixture()
	f.containers.process = echo
	cli := mobyClient(t, f)
	ping, err := cli.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true})
	if err != nil || ping.APIVersion != "1.55" || cli.ClientVersion() != "1.55" {
		t.Errorf("ping %+v, %v, client %s", ping, err, cli.ClientVersion())
	}
	_, err = cli.ContainerInspect(t.Context(), "nope", client.ContainerInspectOptions{})
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "No such container: nope") {
		t.Errorf("inspect of an unknown container: %v", err)
	}
	w := cli.ContainerWait(t.Context(), "web", client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	f.containers.waiting <- container.WaitResponse{StatusCode: 42}
	select {
	case a := <-w.Result:
		if a.StatusCode != 42 {
			t.Errorf("wait: %+v", a)
		}
	case err := <-w.Error:
		t.Error(err)
	}
}

func TestWebPagesAreRefusedOnPlainTCP(t *testing.T) {
	s := httptest.NewServer(newFixture())
	defer s.Close()
	for origin, want := range map[string]int{"": 204, "http://evil.example": 403} {
		r, _ := http.NewRequest("POST", s.URL+"/containers/web/start", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("origin %q: %d, want %d", origin, answer.StatusCode, want)
		}
	}
}

func TestWebsocketAttach(t *testing.T) {
	f := newFixture()
	f.containers.process = echo
	path := serveUnix(t, f)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := websocket.NewConfig("ws://x/v1.45/containers/web/attach/ws?stdin=1&stdout=1&stderr=1", "http://x")
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(cfg, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	_ = ws.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(ws, "hello\n")
	got := make([]byte, 64)
	n, err := ws.Read(got)
	if err != nil || string(got[:n]) != "HELLO\n" {
		t.Errorf("%q, %v", got[:n], err)
	}
}
