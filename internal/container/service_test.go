package container_test

import (
	"context"
	"errors"
	"io/fs"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	hoy "hoy/internal/container"
	"hoy/internal/filter"
	"hoy/internal/monitor"
	"hoy/internal/request"
	"hoy/internal/runtime"
)

func setup(t testing.TB) (*world, *hoy.Service) {
	w := newWorld(t)
	s := w.service()
	t.Cleanup(func() { s.Close(); w.close() })
	return w, s
}

func create(t testing.TB, s *hoy.Service, name string, hc *container.HostConfig) string {
	t.Helper()
	resp, err := s.Create(t.Context(), request.Create{Name: name, Config: &container.Config{Image: "busybox"}, HostConfig: hc})
	if err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

func run(t testing.TB, s *hoy.Service, name string, hc *container.HostConfig) string {
	t.Helper()
	id := create(t, s, name, hc)
	if err := s.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func state(t testing.TB, s *hoy.Service, ref string) *container.State {
	t.Helper()
	c, err := s.Inspect(t.Context(), ref, false)
	if err != nil {
		t.Fatal(err)
	}
	return c.State
}

func TestALifeFromCreateToRemove(t *testing.T) {
	w, s := setup(t)
	id := create(t, s, "web", nil)
	wait, err := s.Wait(t.Context(), id, container.WaitConditionNextExit)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if st := state(t, s, "web"); !st.Running || st.Pid == 0 || st.Status != "running" {
		t.Fatalf("state after start: %+v", st)
	}
	if err := s.Start(t.Context(), "web"); !errdefs.IsNotModified(err) {
		t.Fatalf("second start: %v", err)
	}
	w.check(t, s)
	w.exit(monitor.ProcessID{Container: id}, 3)
	if resp := <-wait; resp.StatusCode != 3 {
		t.Fatalf("wait: %+v", resp)
	}
	eventually(t, "the cgroup is removed", func() bool { ids, _ := (*cgroups)(w).List(); return len(ids) == 0 })
	if st := state(t, s, "web"); st.Running || st.ExitCode != 3 || st.Status != "exited" {
		t.Fatalf("state after exit: %+v", st)
	}
	if err := s.Remove(t.Context(), id[:10], request.Remove{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Inspect(t.Context(), id, false); err == nil || err.Error() != "No such container: "+id {
		t.Fatalf("inspect of a removed one: %v", err)
	}
	s.Drain()
	w.check(t, s)
	if got := w.actions(id); !contains(got, "create", "start", "die", "destroy") {
		t.Fatalf("events: %v", got)
	}
}

func TestRefusalsHaveDockersWordsAndClass(t *testing.T) {
	w, s := setup(t)
	id := run(t, s, "up", nil)
	create(t, s, "new", nil)
	paused := run(t, s, "held", nil)
	if err := s.Pause(t.Context(), "held"); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	mk := func(name, image string, hc *container.HostConfig) error {
		_, err := s.Create(ctx, request.Create{Name: name, Config: &container.Config{Image: image}, HostConfig: hc})
		return err
	}
	newID, _ := s.Inspect(ctx, "new", false)
	for _, c := range []struct {
		what  string
		err   error
		class func(error) bool
		text  string
	}{
		{"name taken", mk("up", "busybox", nil), errdefs.IsConflict, `Conflict. The container name "/up" is already in use by container "` + id + `". You have to remove (or rename) that container to be able to reuse that name.`},
		{"bad name", mk("-x", "busybox", nil), errdefs.IsInvalidArgument, `Invalid container name (-x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`},
		{"no image", mk("", "nope", nil), errdefs.IsNotFound, "No such image: nope:latest"},
		{"little memory", mk("", "busybox", &container.HostConfig{Resources: container.Resources{Memory: 1 << 20}}), errdefs.IsInvalidArgument, "Minimum memory limit allowed is 6MB"},
		{"missing mount source", mk("", "busybox", &container.HostConfig{Binds: []string{"rel/x:/y"}}), errdefs.IsInvalidArgument, "rel/x"},
		{"unknown", s.Start(ctx, "nobody"), errdefs.IsNotFound, "No such container: nobody"},
		{"rm of running", s.Remove(ctx, "up", request.Remove{}), errdefs.IsConflict, `cannot remove container "/up": container is running: stop the container before removing or force remove`},
		{"rm of paused", s.Remove(ctx, "held", request.Remove{}), errdefs.IsConflict, `cannot remove container "/held": container is paused and must be unpaused first`},
		{"kill of created", s.Kill(ctx, "new", ""), errdefs.IsConflict, "cannot kill container: new: container " + newID.ID + " is not running"},
		{"bad signal", s.Kill(ctx, "up", "NOPE"), errdefs.IsInvalidArgument, "Invalid signal: NOPE"},
		{"stop of created", s.Stop(ctx, "new", request.Stop{}), errdefs.IsNotModified, ""},
		{"pause of created", s.Pause(ctx, "new"), errdefs.IsConflict, "is not running"},
		{"pause of paused", s.Pause(ctx, "held"), errdefs.IsConflict, "is already paused"},
		{"unpause of running", s.Unpause(ctx, "up"), errdefs.IsConflict, "is not paused"},
		{"start of paused", s.Start(ctx, "held"), errdefs.IsConflict, "cannot start a paused container, try unpause instead"},
		{"rename to taken", s.Rename(ctx, "new", "up"), errdefs.IsConflict, "is already in use"},
		{"rename to itself", s.Rename(ctx, "up", "up"), errdefs.IsInvalidArgument, "same name"},
		{"resize of created", s.Resize(ctx, "new", 1, 1), errdefs.IsConflict, "is not running"},
	} {
		if c.err == nil || !c.class(c.err) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", c.what, c.err, c.text)
		}
	}
	if _, err := s.Attach(ctx, "held", request.Attach{Stream: true}); !errdefs.IsConflict(err) {
		t.Errorf("attach to paused: %v", err)
	}
	if _, err := s.ExecCreate(ctx, "held", &container.ExecCreateRequest{Cmd: []string{"a"}}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), paused) {
		t.Errorf("exec in paused: %v", err)
	}
	if _, err := s.ExecCreate(ctx, "new", &container.ExecCreateRequest{Cmd: []string{"a"}}); !errdefs.IsConflict(err) {
		t.Errorf("exec in created: %v", err)
	}
	if _, err := s.Wait(ctx, "up", "whenever"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("wait for nonsense: %v", err)
	}
	w.check(t, s)
}

func TestEachFailureOfCreateAndStartLeavesNothingAndTheRetrySucceeds(t *testing.T) {
	for _, step := range []string{"validate", "prepare", "volume"} {
		t.Run("create/"+step, func(t *testing.T) {
			w, s := setup(t)
			w.faults[step] = errors.New("injected")
			req := request.Create{Name: "x1", Config: &container.Config{Image: "volumes"}}
			if _, err := s.Create(t.Context(), req); err == nil {
				t.Fatal("no error")
			}
			w.check(t, s)
			if len(w.volumes) != 0 {
				t.Fatalf("volumes left: %v", w.volumes)
			}
			delete(w.faults, step)
			if _, err := s.Create(t.Context(), req); err != nil {
				t.Fatalf("retry: %v", err)
			}
			w.check(t, s)
		})
	}
	for _, step := range []string{"mounts", "cgroup", "attach", "start"} {
		t.Run("start/"+step, func(t *testing.T) {
			w, s := setup(t)
			id := create(t, s, "x1", nil)
			w.faults[step] = errors.New("injected")
			if err := s.Start(t.Context(), id); err == nil || !strings.Contains(err.Error(), "injected") {
				t.Fatalf("start: %v", err)
			}
			w.check(t, s)
			if st := state(t, s, id); st.Status != "created" || st.ExitCode != 125 || st.Error == "" {
				t.Fatalf("state: %+v", st)
			}
			delete(w.faults, step)
			if err := s.Start(t.Context(), id); err != nil {
				t.Fatalf("retry: %v", err)
			}
			if st := state(t, s, id); st.Error != "" || st.ExitCode != 0 {
				t.Fatalf("state after retry: %+v", st)
			}
			w.check(t, s)
		})
	}
}

func TestStartErrorsCarryWhatClientsLookFor(t *testing.T) {
	for _, c := range []struct {
		cmd  string
		err  error
		code int
		text string
	}{
		{"nosuch", fs.ErrNotExist, 127, `exec: "nosuch": executable file not found in $PATH: unknown`},
		{"/nosuch", syscall.ENOENT, 127, `exec: "/nosuch": stat /nosuch: no such file or directory: unknown`},
		{"/etc/passwd", syscall.EACCES, 126, "permission denied"},
		{"/etc", syscall.EISDIR, 126, "is a directory"},
		{"/x", syscall.ENOEXEC, 126, "exec format error"},
	} {
		w, s := setup(t)
		w.faults["start"] = &runtime.StartError{Step: "exec", Err: c.err, Exec: true}
		resp, err := s.Create(t.Context(), request.Create{Config: &container.Config{Image: "busybox", Cmd: []string{c.cmd}}})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Start(t.Context(), resp.ID)
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", c.cmd, err, c.text)
		}
		if st := state(t, s, resp.ID); st.ExitCode != c.code || st.Error == "" || st.Status != "created" {
			t.Errorf("%s: state %+v, want code %d", c.cmd, st, c.code)
		}
	}
}

func TestStopAsksAndThenKills(t *testing.T) {
	w, s := setup(t)
	id := run(t, s, "deaf", nil)
	w.ignores[syscall.SIGTERM] = true
	zero := 0
	if err := s.Stop(t.Context(), id, request.Stop{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	if st := state(t, s, id); st.ExitCode != 137 || st.Running {
		t.Fatalf("state: %+v", st)
	}
	if got := w.actions(id); !contains(got, "kill", "kill", "die", "stop") {
		t.Fatalf("events: %v", got)
	}
	if err := s.Restart(t.Context(), id, request.Stop{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), id, request.Remove{Force: true}); err != nil {
		t.Fatal(err)
	}
	s.Drain()
	w.check(t, s)
}

func TestRestartPolicies(t *testing.T) {
	w, s := setup(t)
	id := run(t, s, "always", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	pid := state(t, s, id).Pid
	w.exit(monitor.ProcessID{Container: id}, 1)
	eventually(t, "it runs again", func() bool { st := state(t, s, id); return st.Status == "running" && st.Pid != pid })
	c, _ := s.Inspect(t.Context(), id, false)
	if c.RestartCount != 1 {
		t.Errorf("restart count %d, want 1", c.RestartCount)
	}
	if err := s.Stop(t.Context(), id, request.Stop{}); err != nil {
		t.Fatal(err)
	}
	if st := state(t, s, id); st.Status != "exited" {
		t.Errorf("after stop by hand: %+v", st)
	}

	twice := run(t, s, "twice", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 1}})
	pid = state(t, s, twice).Pid
	w.exit(monitor.ProcessID{Container: twice}, 7)
	eventually(t, "the first retry", func() bool { st := state(t, s, twice); return st.Status == "running" && st.Pid != pid })
	w.exit(monitor.ProcessID{Container: twice}, 7)
	eventually(t, "it gives up", func() bool { return state(t, s, twice).Status == "exited" })

	// A stop ends the wait for a restart.
	lazy := run(t, s, "lazy", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	w.exit(monitor.ProcessID{Container: lazy}, 1)
	eventually(t, "it waits", func() bool { return state(t, s, lazy).Restarting })
	if err := s.Stop(t.Context(), lazy, request.Stop{}); err != nil {
		t.Fatal(err)
	}
	if st := state(t, s, lazy); st.Status != "exited" {
		t.Errorf("stopped while restarting: %+v", st)
	}
	w.check(t, s)
}

func TestAutoRemoveTakesAnonymousVolumesAlongAndTellsWaiters(t *testing.T) {
	w, s := setup(t)
	resp, err := s.Create(t.Context(), request.Create{Config: &container.Config{Image: "volumes"}, HostConfig: &container.HostConfig{AutoRemove: true}})
	if err != nil {
		t.Fatal(err)
	}
	wait, err := s.Wait(t.Context(), resp.ID, container.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), resp.ID); err != nil {
		t.Fatal(err)
	}
	w.exit(monitor.ProcessID{Container: resp.ID}, 9)
	if r := <-wait; r.StatusCode != 9 {
		t.Errorf("wait for removal: %+v", r)
	}
	s.Drain()
	w.check(t, s)
	if len(w.volumes) != 0 {
		t.Errorf("volumes left: %v", w.volumes)
	}
}

func TestRestoreAdoptsRecordsAndSweeps(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := w.service()
	alive := run(t, s, "alive", nil)
	ended := run(t, s, "ended", nil)
	lost := run(t, s, "lost", nil)
	again := run(t, s, "again", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	stopped := run(t, s, "stopped", &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "unless-stopped"}})
	temp := run(t, s, "temp", &container.HostConfig{AutoRemove: true})
	if err := s.Stop(t.Context(), stopped, request.Stop{}); err != nil {
		t.Fatal(err)
	}
	// The daemon dies; what it knew is on disk only.
	s.Close()
	w.exit(monitor.ProcessID{Container: ended}, 42)
	w.exit(monitor.ProcessID{Container: again}, 1)
	w.exit(monitor.ProcessID{Container: temp}, 0)
	w.mu.Lock()
	delete(w.procs, monitor.ProcessID{Container: lost})
	orphan := strings.Repeat("ab", 32)
	w.snapshots[orphan], w.groups[orphan], w.attached[orphan] = true, &group{w: w, id: orphan}, true
	w.mu.Unlock()

	s = w.service()
	defer s.Close()
	if st := state(t, s, alive); st.Status != "running" {
		t.Errorf("alive: %+v", st)
	}
	if st := state(t, s, ended); st.ExitCode != 42 || st.Status != "exited" {
		t.Errorf("ended: %+v", st)
	}
	if st := state(t, s, lost); st.ExitCode != 255 || !strings.Contains(st.Error, "unknown") {
		t.Errorf("lost: %+v", st)
	}
	if st := state(t, s, stopped); st.Running {
		t.Errorf("stopped by hand, unless-stopped: %+v", st)
	}
	eventually(t, "always starts again", func() bool { return state(t, s, again).Status == "running" })
	eventually(t, "--rm is removed", func() bool { _, err := s.Inspect(t.Context(), temp, false); return err != nil })
	s.Drain()
	w.check(t, s)
}

// TestACommitThatDiesLeavesNothingPaused ends the daemon in the middle of a commit.
func TestACommitThatDiesLeavesNothingPaused(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := w.service()
	id := run(t, s, "web", nil)
	byHand := run(t, s, "paused", nil)
	if err := s.Pause(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	w.duringCommit = func() {
		if st := state(t, s, id); st.Status != "paused" {
			t.Errorf("while it is committed: %+v", st)
		}
		goruntime.Goexit() // nothing of the daemon goes on
	}
	died := make(chan struct{})
	go func() {
		defer close(died)
		_, _ = s.Commit(t.Context(), request.Commit{Container: id, Pause: true})
	}()
	<-died
	s.Close()
	s = w.service()
	defer s.Close()
	if st := state(t, s, id); st.Status != "running" {
		t.Errorf("after the next start: %+v", st)
	}
	if st := state(t, s, byHand); st.Status != "paused" {
		t.Errorf("paused by a person: %+v", st)
	}
	w.check(t, s)
	// One that ends while it is committed is no failure of the commit.
	w.duringCommit = func() {
		w.exit(monitor.ProcessID{Container: id}, 1)
		eventually(t, "it has ended", func() bool { return !state(t, s, id).Running })
	}
	if _, err := s.Commit(t.Context(), request.Commit{Container: id, Pause: true}); err != nil {
		t.Errorf("commit of one that ended meanwhile: %v", err)
	}
}

func TestListFilters(t *testing.T) {
	_, s := setup(t)
	run(t, s, "web1", nil)
	create(t, s, "db1", nil)
	for _, c := range []struct {
		opt  request.List
		want int
	}{
		{request.List{}, 1}, {request.List{All: true}, 2}, {request.List{Limit: 1}, 1},
		{request.List{Filters: filter.Args{"status": {"created"}}}, 1},
		{request.List{All: true, Filters: filter.Args{"name": {"^/db"}}}, 1},
		{request.List{All: true, Filters: filter.Args{"ancestor": {"busybox"}}}, 2},
		{request.List{All: true, Filters: filter.Args{"since": {"web1"}}}, 1},
		{request.List{All: true, Filters: filter.Args{"network": {"host"}}}, 0},
	} {
		got, err := s.List(t.Context(), c.opt)
		if err != nil || len(got) != c.want {
			t.Errorf("List(%+v) gives %d, %v; want %d", c.opt, len(got), err, c.want)
		}
	}
	if _, err := s.List(t.Context(), request.List{Filters: filter.Args{"status": {"asleep"}}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad status: %v", err)
	}
}

func TestExecs(t *testing.T) {
	w, s := setup(t)
	id := run(t, s, "web", nil)
	ctx := t.Context()
	x, err := s.ExecCreate(ctx, "web", &container.ExecCreateRequest{Cmd: []string{"ls", "-l"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExecStart(ctx, x, request.ExecStart{Detach: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExecStart(ctx, x, request.ExecStart{Detach: true}); !errdefs.IsConflict(err) {
		t.Errorf("second start: %v", err)
	}
	i, err := s.ExecInspect(ctx, x)
	if err != nil || !i.Running || i.ExitCode != nil || i.Pid == 0 {
		t.Fatalf("inspect: %+v, %v", i, err)
	}
	w.exit(monitor.ProcessID{Container: id, Exec: x}, 5)
	eventually(t, "the exec's end is known", func() bool { i, _ := s.ExecInspect(ctx, x); return i.ExitCode != nil && *i.ExitCode == 5 })
	x2, _ := s.ExecCreate(ctx, "web", &container.ExecCreateRequest{Cmd: []string{"nosuch"}})
	w.mu.Lock()
	w.faults["start"] = &runtime.StartError{Step: "exec", Err: fs.ErrNotExist, Exec: true}
	w.mu.Unlock()
	st, err := s.ExecStart(ctx, x2, request.ExecStart{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, _ := st.Conn.Read(buf)
	if !strings.HasPrefix(string(buf[:n]), "\x02\x00") || !strings.Contains(string(buf[:n]), `exec: "nosuch": executable file not found in $PATH`) {
		t.Errorf("stream says %q, want a frame of standard error", buf[:n])
	}
	if i, _ := s.ExecInspect(ctx, x2); i.ExitCode == nil || *i.ExitCode != 127 {
		t.Errorf("inspect: %+v", i)
	}
	if _, err := s.ExecInspect(ctx, "feed"); err == nil || err.Error() != "No such exec instance: feed" {
		t.Errorf("unknown exec: %v", err)
	}
	if got := w.actions(id); !contains(got, "exec_create: ls -l", "exec_start: ls -l", "exec_die") {
		t.Errorf("events: %v", got)
	}
	if c, _ := s.Inspect(ctx, id, false); c.ExecIDs != nil {
		t.Errorf("exec ids left: %v", c.ExecIDs)
	}
}

func TestReadsDoNotWaitForAnOperation(t *testing.T) {
	_, s := setup(t)
	id := run(t, s, "busy", nil)
	w := 1
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Stop(t.Context(), id, request.Stop{Signal: "USR1", Timeout: &w}) }()
	if _, err := s.List(ctx, request.List{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Inspect(ctx, id, false); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	w, s := setup(t)
	run(t, s, "up", nil)
	gone := create(t, s, "old", nil)
	rep, err := s.Prune(t.Context(), nil)
	if err != nil || len(rep.ContainersDeleted) != 1 || rep.ContainersDeleted[0] != gone || rep.SpaceReclaimed != 10 {
		t.Fatalf("prune: %+v, %v", rep, err)
	}
	if _, err := s.Prune(t.Context(), filter.Args{"until": {"yesterday"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad until: %v", err)
	}
	s.Drain()
	w.check(t, s)
}
