package decompress

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const text = "the same text, over and over, the same text, over and over"

func compressed(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"": []byte(text)}
	write := func(name string, open func(io.Writer) (io.WriteCloser, error)) {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out[name] = b.Bytes()
	}
	write("gzip", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	write("zstd", func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	write("xz", func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	// Made by bzip2 of the text above.
	bz, err := base64.StdEncoding.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	out["bzip2"] = bz
	return out
}

func TestEveryKindIsRecognised(t *testing.T) {
	for kind, data := range compressed(t) {
		if got := Kind(data); got != kind {
			t.Errorf("kind of %q is %q", kind, got)
		}
		r, err := Stream(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
		_ = r.Close()
		if kind == "" {
			continue
		}
		half := data[:len(data)-5]
		r, err = Stream(bytes.NewReader(half))
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "damaged "+kind) {
			t.Errorf("half of %s: %v", kind, err)
		}
	}
}

func TestShortStreamsArePlain(t *testing.T) {
	for _, data := range []string{"", "a", "BZ"} {
		r, err := Stream(strings.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != data {
			t.Errorf("%q: %q, %v", data, got, err)
		}
	}
}

const bzipped = "QlpoOTFBWSZTWRmhM4IAABkRgEAEJkOdQCAAUIAAAVVPSepo2RNMJeGLTbKmlNnpZkohxCo4S/F3JFOFCQGaEzgg"
