package image_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/request"
)

// fake is a registry of one image whose answers a test may bend.
type fake struct {
	*httptest.Server
	blobs    map[string][]byte
	manifest []byte
	kind     string
	digest   digest.Digest // as the header says

	mu    sync.Mutex
	asked []string // "GET /v2/… Range"
	// bend, where it returns true, has answered in the registry's stead.
	bend func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{blobs: map[string][]byte{}, kind: ocispec.MediaTypeImageManifest}
	layer := tarOf(t, file("f", strings.Repeat("layer", 50_000)))
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.setManifest(t, ocispec.Manifest{
		MediaType: f.kind, Config: f.add(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{f.add(ocispec.MediaTypeImageLayer, layer)},
	})
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) add(kind string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	f.blobs[d.String()] = data
	return ocispec.Descriptor{MediaType: kind, Digest: d, Size: int64(len(data))}
}

func (f *fake) setManifest(t *testing.T, m ocispec.Manifest) {
	t.Helper()
	m.SchemaVersion = 2
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	f.manifest, f.digest = data, digest.FromBytes(data)
}

func (f *fake) name() string { return strings.TrimPrefix(f.URL, "http://") + "/x:1" }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
	f.mu.Unlock()
	if f.bend != nil && f.bend(w, r) {
		return
	}
	f.serve(w, r)
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	_, id, isBlob := strings.Cut(r.URL.Path, "/blobs/")
	data := f.manifest
	switch {
	case isBlob:
		var ok bool
		if data, ok = f.blobs[id]; !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", f.kind)
		w.Header().Set("Docker-Content-Digest", f.digest.String())
	default:
		w.WriteHeader(http.StatusOK)
		return
	}
	var from int
	if s, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, _ = strconv.Atoi(strings.TrimSuffix(s, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(data[from:])
	}
}

func isLayer(r *http.Request, f *fake) bool {
	_, id, ok := strings.Cut(r.URL.Path, "/blobs/")
	return ok && len(f.blobs[id]) > 10_000
}

func TestHostileRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(t *testing.T, f *fake)
		is   func(error) bool
		text string
	}{
		"layer has other bytes": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, r *http.Request) bool {
				if isLayer(r, f) {
					_, _ = w.Write(make([]byte, 250_000+2048))
					return true
				}
				return false
			}
		}, errdefs.IsInvalidArgument, "registry sent"},
		"layer is longer than said": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, r *http.Request) bool {
				if isLayer(r, f) {
					for range 100 {
						_, _ = w.Write(make([]byte, 1<<16))
					}
					return true
				}
				return false
			}
		}, errdefs.IsInvalidArgument, "registry sent more than the"},
		"layer is cut every time": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, r *http.Request) bool {
				if !isLayer(r, f) {
					return false
				}
				w.Header().Set("Content-Length", "252416")
				panic(http.ErrAbortHandler)
			}
		}, errdefs.IsUnavailable, "pull of"},
		"manifest has another digest": {func(_ *testing.T, f *fake) {
			f.digest = digest.FromString("something else")
		}, errdefs.IsInvalidArgument, "registry sent wrong content"},
		"html": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write([]byte("<html>please log in</html>"))
				return true
			}
		}, errdefs.IsInvalidArgument, "returned an HTML page; is this a registry?"},
		"unauthorized for ever": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
		}, errdefs.IsNotFound, "pull access denied for"},
		"server error": {func(_ *testing.T, f *fake) {
			f.bend = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
		}, errdefs.IsUnavailable, "500 Internal Server Error"},
		"schema 1": {func(_ *testing.T, f *fake) {
			f.kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
			f.manifest = []byte(`{"schemaVersion":1,"fsLayers":[]}`)
			f.digest = digest.FromBytes(f.manifest)
		}, errdefs.IsInvalidArgument, "no longer supported"},
		"not JSON": {func(_ *testing.T, f *fake) {
			f.manifest = []byte(`{{{`)
			f.digest = digest.FromBytes(f.manifest)
		}, errdefs.IsInvalidArgument, "not valid JSON"},
		"layer path tricks in the digest": {func(t *testing.T, f *fake) {
			f.setManifest(t, ocispec.Manifest{Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: "sha256:../../../etc/passwd", Size: 1}})
		}, errdefs.IsInvalidArgument, "invalid digest"},
		"endless configuration": {func(t *testing.T, f *fake) {
			f.setManifest(t, ocispec.Manifest{Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("x"), Size: 1 << 40}})
		}, errdefs.IsInvalidArgument, "more than"},
		"not an image": {func(t *testing.T, f *fake) {
			f.setManifest(t, ocispec.Manifest{Config: ocispec.Descriptor{MediaType: "application/vnd.helm.config", Digest: digest.FromString("x"), Size: 1}})
		}, errdefs.IsInvalidArgument, "is not a container image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, w := newFake(t), open(t, "")
			c.bend(t, f)
			err := w.Pull(t.Context(), f.name(), request.ImageTransfer{}, nil)
			if !c.is(err) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("pull: %v, want %q", err, c.text)
			}
			if w.Count() != 0 {
				t.Error("an image is left")
			}
		})
	}
}

func TestCutPullIsContinued(t *testing.T) {
	f, w := newFake(t), open(t, "")
	var cuts atomic.Int32
	f.bend = func(w http.ResponseWriter, r *http.Request) bool {
		if !isLayer(r, f) || cuts.Add(1) > 2 {
			return false
		}
		_, id, _ := strings.Cut(r.URL.Path, "/blobs/")
		data := f.blobs[id]
		var from int
		if s, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			from, _ = strconv.Atoi(strings.TrimSuffix(s, "-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(data[from : from+60_000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if err := w.Pull(t.Context(), f.name(), request.ImageTransfer{}, nil); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(strings.Join(f.asked, "\n"), "bytes=60000-") {
		t.Errorf("the pull was not continued where it was cut: %q", f.asked)
	}
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	var leaked atomic.Bool
	f, w := newFake(t), open(t, "")
	// Another port of the same address is another host.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		r.Header.Del("Range")
		f.serve(rw, r)
	}))
	defer elsewhere.Close()
	f.bend = func(rw http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
			rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if isLayer(r, f) {
			http.Redirect(rw, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	if err := w.Pull(t.Context(), f.name(), request.ImageTransfer{Auth: &registry.AuthConfig{Username: "u", Password: "p"}}, nil); err != nil {
		t.Fatal(err)
	}
	if leaked.Load() {
		t.Error("the password went to the host that the registry redirected to")
	}
}

func TestTokenAuthorization(t *testing.T) {
	f, w := newFake(t), open(t, "")
	var scopes []string
	var mu sync.Mutex
	f.bend = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			mu.Lock()
			defer mu.Unlock()
			_ = r.ParseForm()
			user, password, _ := r.BasicAuth()
			if r.Form.Get("username") != "u" && user != "u" || r.Form.Get("password") != "p" && password != "p" {
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			}
			scopes = append(scopes, r.Form.Get("scope"))
			_, _ = rw.Write([]byte(`{"token":"T","access_token":"T"}`))
			return true
		}
		if r.Header.Get("Authorization") != "Bearer T" {
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="s",scope="repository:x:pull"`, f.URL))
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	auth := registry.AuthConfig{Username: "u", Password: "p", ServerAddress: strings.TrimPrefix(f.URL, "http://")}
	if err := w.Pull(t.Context(), f.name(), request.ImageTransfer{Auth: &auth}, nil); err != nil {
		t.Error(err)
	}
	if r, err := w.Login(t.Context(), auth); err != nil || r.Status != "Login Succeeded" {
		t.Errorf("login: %+v, %v", r, err)
	}
	auth.Password = "wrong"
	if _, err := w.Login(t.Context(), auth); !errdefs.IsUnauthorized(err) {
		t.Errorf("login with a wrong password: %v", err)
	}
	if err := w.Pull(t.Context(), f.name(), request.ImageTransfer{Auth: &auth}, nil); err == nil {
		t.Error("pull with a wrong password went well")
	}
	if len(scopes) == 0 || scopes[0] != "repository:x:pull" {
		t.Errorf("scopes %q", scopes)
	}
}

func TestPlatformIsChosenAndChecked(t *testing.T) {
	f, w := newFake(t), open(t, "")
	err := w.Pull(t.Context(), f.name(), request.ImageTransfer{Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}}, nil)
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "does not match the specified platform (linux/s390x)") {
		t.Errorf("pull for another platform: %v", err)
	}
	index, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1, Platform: &ocispec.Platform{OS: "plan9", Architecture: "mips"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.kind, f.manifest, f.digest = ocispec.MediaTypeImageIndex, index, digest.FromBytes(index)
	err = w.Pull(t.Context(), f.name(), request.ImageTransfer{}, nil)
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "no matching manifest for linux/") {
		t.Errorf("pull of an index without us: %v", err)
	}
}
