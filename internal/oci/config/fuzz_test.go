package config

import (
	"encoding/json"
	"testing"
	"time"

	"hoy/internal/runtime"
)

// FuzzSpec: whatever config.json holds, reading it and compiling its start ends
// soon, with a program or an error.
func FuzzSpec(f *testing.F) {
	data, err := json.Marshal(Example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	root := Example()
	WithoutRoot(root)
	data, err = json.Marshal(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{"", "null", "{}", `{"ociVersion":"1.0.0","root":{"path":"x"},"linux":{},"process":{"args":[""],"cwd":"/"}}`,
		`{"ociVersion":"1.0.0","root":{"path":"x"},"linux":{"namespaces":[{"type":"mount"}],"maskedPaths":["/..","a","/a/b"],"sysctl":{"net/../x":"1"}},
		"process":{"args":["a\u0000b"],"cwd":"/","user":{"umask":4294967295},"rlimits":[{"type":"RLIMIT_X"}],"capabilities":{"bounding":["X"]}},
		"mounts":[{"destination":"..","type":"tmpfs","options":["size=1","uid=x"]},{"destination":"/dev","type":"tmpfs"},{"destination":"/dev/pts/../x","type":"bind","source":""}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		begin := time.Now()
		s, err := Decode(data)
		if err != nil {
			return
		}
		_, _ = runtime.Plan(&runtime.Launch{Spec: s, ExactUser: true})
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%v for %d bytes", took, len(data))
		}
	})
}
