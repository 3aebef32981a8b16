package names

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{
		"web": true, "/web": true, "a1": true, "A_b.c-d": true, "9lives": true,
		"a": false, "": false, "_a": false, "-a": false, ".a": false, "a/b": false, "a b": false, "ä1": false, "a\n": false,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false,
	} {
		err := Check(name)
		if (err == nil) != ok {
			t.Errorf("Check(%q) = %v, want ok %v", name, err, ok)
		}
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("Check(%q) = %v, want an invalid argument", name, err)
		}
	}
}

func TestWordListsAreLargeCleanAndWithoutDoubles(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+$`)
	for _, list := range []struct {
		words []string
		least int
	}{{adjectives, 100}, {nouns, 200}} {
		if len(list.words) < list.least {
			t.Errorf("%d words, want at least %d", len(list.words), list.least)
		}
		sorted := slices.Clone(list.words)
		slices.Sort(sorted)
		for i, w := range sorted {
			if !word.MatchString(w) {
				t.Errorf("%q is not all lower-case letters", w)
			}
			if i > 0 && sorted[i-1] == w {
				t.Errorf("%q is there twice", w)
			}
		}
	}
}

func TestGenerateNeverGivesOneNameTwice(t *testing.T) {
	var mu sync.Mutex
	taken := map[string]bool{}
	reserve := func(name string) error {
		mu.Lock()
		defer mu.Unlock()
		if taken[name] {
			return errdefs.ErrConflict
		}
		taken[name] = true
		return nil
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				name, err := Generate(reserve)
				if err != nil || Check(name) != nil {
					t.Errorf("Generate = %q, %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	if len(taken) != 8*500 {
		t.Errorf("%d names reserved, want %d", len(taken), 8*500)
	}
}

func TestGenerateGivesUp(t *testing.T) {
	refused := errors.New("refused")
	if _, err := Generate(func(string) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Generate = %v, want the refusal", err)
	}
}
