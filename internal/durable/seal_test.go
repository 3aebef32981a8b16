package durable

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestEveryFlippedByteOfASealedDocumentIsFound takes each bit of each byte, and
// each shorter length.
func TestEveryFlippedByteOfASealedDocumentIsFound(t *testing.T) {
	text := []byte(`{"name":"web","count":7}`)
	sealed := Seal("id", text)
	if got, err := Unseal("id", sealed); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := Unseal("other", sealed); err == nil {
		t.Error("a document was taken for another's")
	}
	decodes := func(b []byte) bool {
		got, err := Unseal("id", b)
		var v map[string]any
		return err == nil && json.Unmarshal(got, &v) == nil
	}
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if decodes(bad) {
				t.Errorf("byte %d, bit %d flipped: %q is taken", i, bit, bad)
			}
		}
	}
	for n := range sealed {
		// What lacks its seal and nothing else has lost nothing.
		if decodes(sealed[:n]) && n != len(text) && n != len(text)+1 {
			t.Errorf("cut to %d bytes it is taken", n)
		}
	}
	if !decodes(text) {
		t.Error("a document without a seal is refused")
	}
}
