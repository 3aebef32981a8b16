package start

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"hoy/internal/container/core"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
)

func TestThePlanAsText(t *testing.T) {
	r := &record.Record{
		ID: strings.Repeat("ab", 32), Config: &container.Config{Cmd: []string{"sleep", "1"}},
		HostConfig: &container.HostConfig{NetworkMode: "bridge"},
		Mounts:     []record.Mount{{MountPoint: container.MountPoint{Type: mount.TypeVolume, Destination: "/data"}}},
	}
	a := &attempt{s: &Starter{Core: &core.Core{Index: index.New()}}, r: r}
	p, err := a.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `1 sources  check root volume:/data | undo: release
2 cgroup   create abababababab | undo: remove
2 network  attach to bridge | undo: detach
3 process  start ["sleep" "1"]
`
	if p.String() != want {
		t.Errorf("plan:\n%swant:\n%s", p, want)
	}
}

func TestAFailedStepUndoesWhatWasDoneAndReleasesNothingAfterIt(t *testing.T) {
	for fail := range 4 {
		var undone []string
		ran := map[string]bool{}
		refused := errors.New("refused")
		step := func(i, stage int, name string) Step {
			return Step{
				Stage: stage, Name: name, UndoName: name,
				Do: func(context.Context) error {
					if i == fail {
						return refused
					}
					if stage == 3 {
						ran["last"] = true
					}
					return nil
				},
				Undo: func(ctx context.Context) error { undone = append(undone, name); return ctx.Err() },
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // undoing must not depend on the caller's patience
		err := Plan{step(0, 1, "a"), step(1, 2, "b"), step(2, 2, "c"), step(3, 3, "d")}.Run(ctx, func(err error) { t.Error(err) })
		want := [][]string{nil, {"c", "a"}, {"b", "a"}, {"c", "b", "a"}}[fail]
		if !errors.Is(err, refused) || !slices.Equal(undone, want) || ran["last"] {
			t.Errorf("step %d fails: %v, undone %v, want %v, later steps ran: %v", fail, err, undone, want, ran)
		}
	}
}
