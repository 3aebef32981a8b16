package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"hoy/internal/image/store"
)

type member struct{ name, body, link string }

func archiveOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.body)), Typeflag: tar.TypeReg}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(m.body))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: layers keep their owners")
	}
	s, err := store.Open(t.Context(), store.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func load(t testing.TB, s *store.Store, data []byte) ([]Named, error) {
	t.Helper()
	ctx, done, err := s.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	return Load(ctx, s, bytes.NewReader(data), LoadOptions{})
}

func blob(body string) member {
	return member{name: "blobs/sha256/" + digest.FromString(body).Encoded(), body: body}
}

func TestLegacyArchives(t *testing.T) {
	layer := string(archiveOf(t, member{name: "f", body: "x"}))
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromString(layer))
	v1 := `{"id":"aa","created":"2014-01-01T00:00:00Z","architecture":"amd64","config":{"Cmd":["/f"]}}`
	for name, members := range map[string][]member{
		"manifest.json": {{name: "c.json", body: config}, {name: "l/layer.tar", body: layer}, {name: "manifest.json", body: `[{"Config":"c.json","RepoTags":["q:1"],"Layers":["l/layer.tar"]}]`}},
		"linked layer":  {{name: "c.json", body: config}, {name: "k/layer.tar", body: layer}, {name: "l/layer.tar", link: "../k/layer.tar"}, {name: "manifest.json", body: `[{"Config":"c.json","RepoTags":["q:1"],"Layers":["l/layer.tar"]}]`}},
		"repositories":  {{name: "aa/json", body: v1}, {name: "aa/layer.tar", body: layer}, {name: "repositories", body: `{"q":{"1":"aa"}}`}},
	} {
		s := openStore(t)
		got, err := load(t, s, archiveOf(t, members...))
		if err != nil || len(got) != 1 || len(got[0].Names) != 1 || got[0].Names[0] != "docker.io/library/q:1" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	layer := string(archiveOf(t, member{name: "f", body: "x"}))
	config := fmt.Sprintf(`{"rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromString(layer))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		digest.FromString(config), len(config), digest.FromString(layer), len(layer))
	index := func(size int) member {
		return member{name: "index.json", body: fmt.Sprintf(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, digest.FromString(manifest), size)}
	}
	lie := member{name: blob(layer).name, body: layer + "more"}
	for name, c := range map[string]struct {
		members []member
		text    string
	}{
		"empty":            {nil, "neither index.json nor manifest.json"},
		"root file system": {[]member{{name: "etc/passwd", body: "root"}}, "then import it"},
		"missing blob":     {[]member{index(len(manifest)), blob(manifest), blob(config)}, "blob " + digest.FromString(layer).String() + " is missing"},
		"wrong digest":     {[]member{index(len(manifest)), blob(manifest), blob(config), lie}, "has the digest"},
		"wrong size":       {[]member{index(3), blob(manifest), blob(config), blob(layer)}, "its descriptor says 3"},
		"bad digest":       {[]member{{name: "index.json", body: `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":1}]}`}}, "digest"},
		"missing config":   {[]member{{name: "manifest.json", body: `[{"Config":"c.json"}]`}}, `configuration "c.json" is missing`},
		"config outside":   {[]member{{name: "manifest.json", body: `[{"Config":"../../../etc/passwd"}]`}}, "is missing"},
		"missing layer":    {[]member{{name: "c.json", body: config}, {name: "manifest.json", body: `[{"Config":"c.json","Layers":["l"]}]`}}, `layer "l" is missing`},
		"layer count":      {[]member{{name: "c.json", body: config}, {name: "manifest.json", body: `[{"Config":"c.json"}]`}}, "names 1"},
		"other layer":      {[]member{{name: "c.json", body: config}, {name: "l", body: string(archiveOf(t))}, {name: "manifest.json", body: `[{"Config":"c.json","Layers":["l"]}]`}}, "its configuration says"},
		"bad name":         {[]member{{name: "c.json", body: config}, {name: "l", body: layer}, {name: "manifest.json", body: `[{"Config":"c.json","RepoTags":["BAD"],"Layers":["l"]}]`}}, "image name"},
		"looping links":    {[]member{{name: "c.json", link: "d.json"}, {name: "d.json", link: "c.json"}, {name: "manifest.json", body: `[{"Config":"c.json"}]`}}, "is missing"},
		"looping parents":  {[]member{{name: "a/json", body: `{"parent":"a"}`}, {name: "repositories", body: `{"q":{"1":"a"}}`}}, "more than"},
		"not JSON":         {[]member{{name: "manifest.json", body: `{`}}, "manifest.json"},
	} {
		_, err := load(t, openStore(t), archiveOf(t, c.members...))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.text)) {
			t.Errorf("%s: %v, want invalid with %q", name, err, c.text)
		}
	}
	s := openStore(t)
	whole := archiveOf(t, index(len(manifest)), blob(manifest), blob(config), blob(layer))
	if _, err := load(t, s, whole[:len(whole)/2]); !errdefs.IsInvalidArgument(err) {
		t.Errorf("half an archive: %v", err)
	}
	if got, err := load(t, s, whole); err != nil || len(got) != 1 {
		t.Errorf("the whole archive: %+v, %v", got, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["q:1"],"Layers":["l"]}]`), []byte(`{"manifests":[]}`), []byte(`{"q":{"1":"aa"}}`), []byte(`{"rootfs":{"diff_ids":[]}}`))
	f.Add([]byte(`[]`), []byte(`{"manifests":[{"digest":"x"}]}`), []byte(`{}`), []byte(`{}`))
	s := openStore(f)
	f.Fuzz(func(t *testing.T, manifest, index, repositories, config []byte) {
		for _, m := range []member{{name: "manifest.json", body: string(manifest)}, {name: "index.json", body: string(index)}, {name: "repositories", body: string(repositories)}} {
			data := archiveOf(t, m, member{name: "c.json", body: string(config)}, member{name: "aa/json", body: string(config)}, member{name: "l", body: "layer"})
			_, err := load(t, s, data)
			if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) {
				t.Errorf("%s: %v: every refusal must be an invalid argument", m.name, err)
			}
		}
	})
}
