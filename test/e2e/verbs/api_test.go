package verbs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// call sends one raw request over the engine's socket.
func call(t *testing.T, e *engine.Engine, method, path, kind, body string) (int, string, http.Header) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
	}}}
	req, err := http.NewRequest(method, "http://hoy"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	r, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b), r.Header
}

func TestRawRefusals(t *testing.T) {
	e := start(t)
	e.Must("create", "--name", "cc", "busybox", "true")
	const j = "application/json"
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		text                     string
	}{
		{"GET", "/nosuch", "", "", 404, "page not found"},
		{"GET", "/v1.99/containers/json", "", "", 400, "too new"},
		{"GET", "/v1.12/containers/json", "", "", 400, "too old"},
		{"POST", "/containers/create", j, `{"Image":`, 400, ""},
		{"POST", "/containers/create", j, `{"Image":3}`, 400, "Image"},
		{"POST", "/containers/create", j, `[]`, 400, ""},
		{"POST", "/containers/create", j, ``, 400, ""},
		{"POST", "/containers/create", "text/plain", `{"Image":"busybox"}`, 400, "application/json"},
		{"POST", "/containers/create", j, `{"Image":"busybox","Cmd":["true"]}garbage`, 400, ""},
		{"POST", "/containers/create", j, `{"Image":"busybox","HostConfig":{"Memory":"x"}}`, 400, "Memory"},
		{"POST", "/containers/create", j, `{"Image":"` + strings.Repeat("x", 40<<20) + `"}`, 413, ""},
		{"POST", "/containers/create?name=cc", j, `{"Image":"busybox","Cmd":["true"]}`, 409, "already in use"},
		{"POST", "/containers/create", j, `{"Image":"nosuch"}`, 404, "No such image: nosuch"},
		{"POST", "/containers/none/start", "", "", 404, "No such container: none"},
		{"POST", "/containers/cc/stop", "", "", 304, ""},
		{"POST", "/containers/cc/kill", "", "", 409, "is not running"},
		{"POST", "/containers/cc/resize?h=x&w=1", "", "", 400, ""},
		{"GET", "/containers/json?filters=nonsense", "", "", 400, "filters"},
		{"GET", "/containers/json?limit=x", "", "", 400, "limit"},
		{"GET", "/containers/cc/logs", "", "", 400, "stream"},
		{"PUT", "/containers/cc/archive?path=/none", "application/x-tar", "x", 404, ""},
		{"PUT", "/containers/cc/archive?path=/tmp", "application/x-tar", strings.Repeat("junk", 300), 400, ""},
		{"POST", "/exec/none/start", j, `{}`, 404, "none"},
		{"GET", "/images/nosuch/json", "", "", 404, "No such image"},
		{"POST", "/images/create?fromImage=UPPER", "", "", 400, "lowercase"},
		{"POST", "/images/load", "application/x-tar", "no tar at all", 400, ""},
		{"GET", "/volumes/nosuch", "", "", 404, "no such volume"},
		{"POST", "/volumes/create", j, `{"Name":"../../x"}`, 400, "invalid characters"},
		{"POST", "/networks/create", j, `{"Name":"n"}`, 501, "network"},
		{"POST", "/build", "application/x-tar", "", 501, "build"},
		{"GET", "/swarm", "", "", 503, "swarm"},
	} {
		name := c.method + " " + c.path
		status, body, _ := call(t, e, c.method, c.path, c.kind, c.body)
		if status != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s %.60s: %d, want %d with %q: %.300s", name, c.body, status, c.status, c.text, body)
		}
		var msg struct{ Message string }
		if status >= 400 && (json.Unmarshal([]byte(body), &msg) != nil || msg.Message == "") {
			t.Errorf("%s: an error without a message: %.300s", name, body)
		}
	}
	if got := e.Must("ps", "-a", "--format", "{{.Names}}"); got != "cc" {
		t.Errorf("refused requests left containers: %q", got)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	e := start(t)
	status, body, _ := call(t, e, "POST", "/v1.24/containers/create?name=unk", "application/json", `{"Image":"busybox","Cmd":["true"],"FromTheFuture":{"x":[1]},"HostConfig":{"AlsoUnknown":1}}`)
	if status != 201 {
		t.Errorf("%d: %s", status, body)
	}
}

func TestPing(t *testing.T) {
	e := engine.Start(t)
	for _, method := range []string{"GET", "HEAD"} {
		status, _, h := call(t, e, method, "/_ping", "", "")
		if status != 200 || h.Get("Api-Version") != "1.55" || h.Get("Ostype") != "linux" {
			t.Errorf("%s /_ping: %d, %v", method, status, h)
		}
	}
}

// TestSlowAndRudeClients connects and says nothing, or nonsense; others are served.
func TestSlowAndRudeClients(t *testing.T) {
	e := start(t)
	for i := range 50 {
		c, err := net.Dial("unix", strings.TrimPrefix(e.Host, "unix://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 1:
			fmt.Fprintf(c, "GET /containers/json HTTP/1.1\r\nHost: x\r\n")
		case 2:
			fmt.Fprintf(c, "\x16\x03\x01 nonsense\r\n\r\n")
			_, _ = bufio.NewReader(c).ReadString('\n')
		}
	}
	e.Must("run", "--rm", "busybox", "true")
}
