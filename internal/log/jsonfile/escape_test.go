package jsonfile

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzEscape(f *testing.F) {
	f.Add([]byte("plain text that is longer than eight bytes"))
	f.Add([]byte("\x00\x1f \"\\<>&\x7f\x80\xff\u2028\u2029é\xed\xa0\x80"))
	f.Fuzz(func(t *testing.T, s []byte) {
		got := appendEscaped([]byte{'"'}, s)
		got = append(got, '"')
		want, err := json.Marshal(string(s))
		if err != nil {
			t.Fatal(err)
		}
		// The short escapes that encoding/json uses and Docker's driver does not.
		var docker []byte
		for i := 0; i < len(want); i++ {
			if want[i] != '\\' {
				docker = append(docker, want[i])
				continue
			}
			i++
			switch want[i] {
			case 'b':
				docker = append(docker, `\u0008`...)
			case 't':
				docker = append(docker, `\u0009`...)
			case 'f':
				docker = append(docker, `\u000c`...)
			default:
				docker = append(docker, '\\', want[i])
			}
		}
		if !bytes.Equal(got, docker) {
			t.Errorf("%q: got %s, want %s", s, got, docker)
		}
		for i := range s {
			if i+8 <= len(s) {
				any := false
				for _, b := range s[i : i+8] {
					any = any || !plain(b)
				}
				if n := plainPrefix(s[i : i+8]); any != (n < 8) {
					t.Errorf("%q: plain prefix %d, special %v", s[i:i+8], n, any)
				}
			}
		}
	})
}
