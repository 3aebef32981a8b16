package armor

import (
	"os/exec"
	"strings"
	"testing"
)

// TestProfile has the machine's parser read the profile, for whomever confines the engine.
func TestProfile(t *testing.T) {
	if parser() == "" {
		t.Skip("needs apparmor_parser, of Debian's package apparmor")
	}
	for _, engine := range []string{"unconfined", "/usr/bin/hoyd", "", "a\nb", `a"b`} {
		cmd := exec.Command(parser(), "--skip-kernel-load", "--skip-cache", "--stdout")
		cmd.Stdin = strings.NewReader(text(engine))
		out, err := cmd.Output()
		if err != nil || len(out) == 0 {
			t.Errorf("%q: %v", engine, err)
		}
	}
	if got := text("/usr/bin/hoyd"); !strings.Contains(got, `peer="/usr/bin/hoyd",`) || !strings.Contains(got, "profile hoy-default ") {
		t.Error(got)
	}
}
