package system

import (
	"fmt"
	"testing"
	"time"
)

func TestExactKeepsTheFraction(t *testing.T) {
	for _, same := range []string{"", "0", "1767323000", "1767323000.5", "2030-01-01", "2030-01-01T10:00:00Z"} {
		if got := exact(same); got != same {
			t.Errorf("%q became %q", same, got)
		}
	}
	before := time.Now()
	text := exact("1m30s")
	var sec, nano int64
	if n, err := fmt.Sscanf(text, "%d.%09d", &sec, &nano); n != 2 || err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if off := time.Unix(sec, nano).Sub(before.Add(-90 * time.Second)); off < 0 || off > time.Second {
		t.Errorf("%q is %v off", text, off)
	}
}
