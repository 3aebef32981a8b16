// Package difftest compares verbs with the docker command line, where one is
// installed: both get the same answers from the same server in memory, and must
// ask the same and write the same.
package difftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
)

// Answer is what the server answers with; a zero Status is 200.
type Answer struct {
	Status int
	Body   string
}

// Routes maps "METHOD /path", without the version, to answers.
type Routes map[string]Answer

// Result is what one program did.
type Result struct {
	Out, Err string
	Code     int
	// Asked are the requests, "METHOD /path?query", without the version, and
	// their bodies where they are JSON.
	Asked []string
}

// Server answers as Routes say, on a unix socket, and remembers what was asked.
type Server struct {
	Host   string
	routes Routes

	mu    sync.Mutex
	asked []string
}

// apiVersion is the one of the docker command line this was written against.
const apiVersion = "1.50"

var versionPrefix = regexp.MustCompile(`^/v[0-9.]+`)

// Serve starts a server that lives as long as the test.
func Serve(t *testing.T, routes Routes) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "hoy-cli-") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Host: "unix://" + path, routes: routes}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = os.RemoveAll(dir)
	})
	return s
}

// ServeHTTP answers.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", apiVersion)
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Server", "Docker/28.2.2 (linux)")
	path := versionPrefix.ReplaceAllString(r.URL.Path, "")
	if path == "/_ping" {
		_, _ = io.WriteString(w, "OK")
		return
	}
	if path == "/hoy/system/space" { // only our own engine knows it, and only our own command line asks
		http.NotFound(w, r)
		return
	}
	asked := r.Method + " " + path
	params := r.URL.Query()
	// verbose is of a later API than docker's; what is empty says nothing.
	maps.DeleteFunc(params, func(name string, values []string) bool {
		return name == "verbose" || strings.Join(values, "") == ""
	})
	if query := params.Encode(); query != "" {
		asked += "?" + query
	}
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Content-Type") == "application/json" && len(body) > 0 {
		asked += " " + canonical(body)
	}
	s.mu.Lock()
	s.asked = append(s.asked, asked)
	s.mu.Unlock()
	answer, ok := s.routes[r.Method+" "+path]
	if !ok {
		answer = Answer{http.StatusNotFound, fmt.Sprintf(`{"message":"no route for %s %s"}`, r.Method, path)}
	}
	w.Header().Set("Content-Type", "application/json")
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body)
}

// canonical gives a body with its members in order and without those that say nothing.
func canonical(body []byte) string {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return string(body)
	}
	text, _ := json.Marshal(prune(value)) // what was decoded can be encoded
	return string(text)
}

func prune(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for key, member := range object {
		switch member = prune(member); m := member.(type) {
		case nil:
			delete(object, key)
		case string:
			if m == "" {
				delete(object, key)
			}
		case []any:
			if len(m) == 0 {
				delete(object, key)
			}
		}
	}
	return object
}

func (s *Server) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// Build adds verbs to the root command.
type Build func(app *cli.App, root *cobra.Command)

// Hoy runs the verbs in this process with s as the daemon.
func (s *Server) Hoy(t *testing.T, build Build, stdin string, args ...string) Result {
	t.Helper()
	t.Setenv("HOY_HOST", s.Host)
	t.Setenv("HOY_CONFIG", t.TempDir())
	var out, err bytes.Buffer
	app := cli.NewApp(strings.NewReader(stdin), &out, &err)
	root := cli.NewRoot(app)
	build(app, root)
	code := cli.Main(context.Background(), app, root, args)
	return Result{out.String(), err.String(), code, s.take()}
}

// Docker runs the docker command line with s as the daemon. It skips the test
// where none is installed.
func (s *Server) Docker(t *testing.T, stdin string, args ...string) Result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), docker(t), args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+s.Host, "DOCKER_CONFIG="+t.TempDir(), "DOCKER_CLI_HINTS=false")
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	code := 0
	if e := cmd.Run(); e != nil {
		var exit *exec.ExitError
		if !errors.As(e, &exit) {
			t.Fatal(e)
		}
		code = exit.ExitCode()
	}
	return Result{out.String(), err.String(), code, s.take()}
}

var findDocker = sync.OnceValues(func() (path, why string) {
	path, err := exec.LookPath("docker")
	if err != nil {
		return "", "needs the docker command line to compare with: " + err.Error()
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil || !strings.Contains(string(version), "version 28.") {
		return "", fmt.Sprintf("needs a docker command line of version 28 to compare with, not %q", strings.TrimSpace(string(version)))
	}
	return path, ""
})

func docker(t *testing.T) string {
	t.Helper()
	path, why := findDocker()
	if why != "" {
		t.Skip(why)
	}
	return path
}

// Compare runs both and fails the test where they differ in what they ask for,
// write or exit with. Where docker refuses how it was called, or a template, the
// words are each program's own: then hoy must refuse too.
func Compare(t *testing.T, routes Routes, build Build, stdin string, args ...string) {
	t.Helper()
	t.Setenv("TZ", "UTC")
	s := Serve(t, routes)
	want := s.Docker(t, stdin, args...)
	got := s.Hoy(t, build, stdin, args...)
	// Some of its verbs say this after the error.
	want.Err = strings.TrimSuffix(want.Err, "exit status 1\n")
	if got.Code != want.Code {
		t.Errorf("exit code of %q: hoy %d, docker %d", args, got.Code, want.Code)
	}
	if !slices.Equal(got.Asked, want.Asked) {
		t.Errorf("requests of %q\n--- hoy\n%s\n--- docker\n%s", args, strings.Join(got.Asked, "\n"), strings.Join(want.Asked, "\n"))
	}
	if want.Code != 0 && ownWords.MatchString(want.Err) {
		if strings.TrimSpace(got.Err) == "" {
			t.Errorf("%q is refused without a word, docker says\n%s", args, want.Err)
		}
		return
	}
	if got.Out != want.Out {
		t.Errorf("stdout of %q\n--- hoy\n%s\n--- docker\n%s", args, got.Out, want.Out)
	}
	if !strings.EqualFold(strings.TrimSpace(got.Err), strings.TrimSpace(want.Err)) {
		t.Errorf("stderr of %q\n--- hoy\n%s\n--- docker\n%s", args, got.Err, want.Err)
	}
}

var ownWords = regexp.MustCompile(`--help' for more information|template parsing error|template: |specifier component must match`)
