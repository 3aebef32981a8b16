package event

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"hoy/internal/filter"
)

func message(typ events.Type, action, id string, attrs ...string) events.Message {
	m := events.Message{Type: typ, Action: events.Action(action), Actor: events.Actor{ID: id, Attributes: map[string]string{}}}
	for i := 0; i+1 < len(attrs); i += 2 {
		m.Actor.Attributes[attrs[i]] = attrs[i+1]
	}
	return m
}

func TestMatch(t *testing.T) {
	container := message(events.ContainerEventType, "exec_start: /bin/sh -c x", "abcdef", "name", "web1", "image", "nginx:1.25", "tier", "front")
	container.Scope = "local"
	image := message(events.ImageEventType, "pull", "docker.io/library/nginx:1.25", "name", "nginx")
	for _, tc := range []struct {
		m    events.Message
		f    filter.Args
		want bool
	}{
		{container, nil, true},
		{container, filter.Args{"type": {"image", "container"}}, true},
		{container, filter.Args{"type": {"image"}}, false},
		{container, filter.Args{"event": {"exec_start"}}, true},
		{container, filter.Args{"event": {"exec_start: /bin/sh -c x"}}, true},
		{container, filter.Args{"event": {"exec"}}, false},
		{container, filter.Args{"container": {"abc"}}, true},
		{container, filter.Args{"container": {"web"}}, true},
		{container, filter.Args{"container": {"eb1"}}, false},
		{container, filter.Args{"image": {"nginx"}}, true},
		{container, filter.Args{"image": {"nginx:1.25"}}, true},
		{container, filter.Args{"image": {"ngin"}}, false},
		{container, filter.Args{"label": {"tier"}}, true},
		{container, filter.Args{"label": {"tier=front", "name=web1"}}, true},
		{container, filter.Args{"label": {"tier=front", "x"}}, false},
		{container, filter.Args{"scope": {"local"}}, true},
		{container, filter.Args{"scope": {"swarm"}}, false},
		{container, filter.Args{"type": {"container"}, "image": {"other"}}, false},
		{image, filter.Args{"image": {"nginx"}}, true},
		{image, filter.Args{"event": {"pull", "push"}}, true},
		{image, filter.Args{"event": {"pul"}}, false},
	} {
		if got := Match(tc.f, tc.m); got != tc.want {
			t.Errorf("%v on %s %s: %v", tc.f, tc.m.Type, tc.m.Action, got)
		}
		for key := range tc.f {
			if !strings.Contains(strings.Join(FilterKeys, " "), key) {
				t.Errorf("key %s is not in FilterKeys", key)
			}
		}
	}
}

func TestThePastThenTheNew(t *testing.T) {
	b := New()
	for i := range kept + 10 {
		m := message(events.ContainerEventType, "start", string(rune('a'+i%26)))
		m.Time, m.TimeNano = int64(i), int64(i)*int64(time.Second)
		b.Publish(m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	old := b.Subscribe(ctx, time.Unix(0, 1), time.Time{}, nil)
	b.Publish(message(events.ImageEventType, "pull", "new"))
	n := 0
	for m := range old {
		n++
		if n == 1 && m.Time != 10 {
			t.Errorf("the first kept is of %d", m.Time)
		}
		if m.Actor.ID == "new" {
			if m.Scope != "local" || m.Time == 0 || m.TimeNano/1e9 != m.Time {
				t.Errorf("%+v", m)
			}
			break
		}
	}
	if n != kept+1 {
		t.Errorf("%d messages, want the kept %d and the new one", n, kept)
	}
	if b.Subscribers() != 0 {
		t.Error("a subscriber that stopped is kept")
	}
	n = 0
	for m := range b.Subscribe(ctx, time.Unix(20, 0), time.Unix(25, 0), nil) {
		if m.Time < 20 || m.Time > 25 {
			t.Errorf("message of %d", m.Time)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d messages between two times of the past", n)
	}
}

func TestSubscribeEndsWithItsContextAndWithUntil(t *testing.T) {
	b := New()
	ctx, cancel := context.WithCancel(t.Context())
	seq := b.Subscribe(ctx, time.Time{}, time.Time{}, nil)
	go func() {
		for range seq {
			cancel()
		}
	}()
	b.Publish(message(events.ContainerEventType, "start", "a"))
	<-ctx.Done()
	for range b.Subscribe(t.Context(), time.Time{}, time.Now().Add(30*time.Millisecond), nil) {
		t.Error("nothing was published")
	}
	unread, stop := context.WithCancel(t.Context())
	_ = b.Subscribe(unread, time.Time{}, time.Time{}, nil)
	stop()
	for deadline := time.Now().Add(5 * time.Second); b.Subscribers() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("a subscription that is never read outlives its context")
		}
	}
}

func TestAStuckReaderFindsAGapAndHoldsUpNobody(t *testing.T) {
	b := New()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seq := b.Subscribe(ctx, time.Time{}, time.Time{}, filter.Args{"type": {"container"}})
	for range maxQueued + 10 {
		b.Publish(message(events.ContainerEventType, "start", "a"))
		b.Publish(message(events.ImageEventType, "pull", "not asked for"))
	}
	n, lost := 0, ""
	for m := range seq {
		switch {
		case m.Action == ActionGap:
			lost = m.Actor.Attributes["lost"]
			if m.Type != events.DaemonEventType || n != maxQueued || m.Actor.Attributes["reason"] != "slow reader" {
				t.Errorf("after %d: %+v", n, m)
			}
			b.Publish(message(events.ContainerEventType, "start", "after"))
		case m.Actor.ID == "after":
			cancel()
		default:
			n++
		}
	}
	if n != maxQueued || lost != "10" {
		t.Errorf("%d messages, %s lost", n, lost)
	}
}

// open opens a bus on the file and closes it with the test.
func open(t testing.TB, path string) *Bus {
	t.Helper()
	b := Open(Options{Path: path, ID: "engine", Name: "host", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// since reads what is kept from since on.
func since(t testing.TB, b *Bus, at time.Time) []events.Message {
	t.Helper()
	return slices.Collect(b.Subscribe(t.Context(), at, time.Now(), nil))
}

func TestThePastOutlivesTheBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	const rounds, each = 3, kept + 200
	began := time.Now()
	for round := range rounds {
		b := open(t, path) // the one before is left open, as by a daemon that is killed
		for i := range each {
			b.Publish(message(events.ContainerEventType, "start", fmt.Sprint(round*each+i), "name", "web"))
		}
		got := since(t, b, began.Add(-time.Second))
		if len(got) != (round+1)*each {
			t.Fatalf("round %d: %d messages, want %d", round, len(got), (round+1)*each)
		}
		for i, m := range got {
			if m.Actor.ID != fmt.Sprint(i) || m.Actor.Attributes["name"] != "web" || m.Scope != "local" {
				t.Fatalf("message %d: %+v", i, m)
			}
		}
	}
	if got := since(t, open(t, path), time.Now()); len(got) != 0 {
		t.Errorf("%d messages since now", len(got))
	}
}

func TestAMessageOfThePastIsFoundByItsOwnTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	b := open(t, path)
	old := message(events.ContainerEventType, "die", "a")
	at := time.Now().Add(-time.Hour)
	old.Time, old.TimeNano = at.Unix(), at.UnixNano()
	b.Publish(old)
	for _, bus := range []*Bus{b, open(t, path)} {
		if got := since(t, bus, at.Add(time.Second)); len(got) != 0 {
			t.Errorf("%v after its time", got)
		}
		if got := since(t, bus, at); len(got) != 1 || got[0].TimeNano != at.UnixNano() {
			t.Errorf("%v at its time", got)
		}
	}
}

func TestToldKnowsTheLastMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	b := open(t, path)
	if !b.Told()("a", events.ActionDie, time.Now()) {
		t.Error("an empty file would have every container of old die anew")
	}
	for range recent + 10 {
		b.Publish(message(events.ContainerEventType, "start", "other"))
	}
	at := time.Now()
	b.Publish(message(events.ContainerEventType, "die", "a"))
	told := open(t, path).Told()
	for _, c := range []struct {
		id     string
		action events.Action
		since  time.Time
		want   bool
	}{
		{"a", events.ActionDie, at, true},
		{"a", events.ActionDie, time.Time{}, true},
		{"a", events.ActionDie, at.Add(time.Minute), false},
		{"a", events.ActionStart, at, false},
		{"b", events.ActionDie, at, false},
		{"b", events.ActionDie, time.Time{}, false},
		{"b", events.ActionDie, at.Add(-time.Hour), true},
	} {
		if got := told(c.id, c.action, c.since); got != c.want {
			t.Errorf("%s %s since %v: %v", c.id, c.action, c.since, got)
		}
	}
}

func TestWhatTheFileLostIsAGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	b := open(t, path)
	for i := range 30 {
		b.Publish(message(events.ContainerEventType, "start", fmt.Sprint(i)))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[len(data)/2 : len(data)/2+100])
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	whole, lost := 0, 0
	for _, m := range since(t, open(t, path), time.Unix(1, 0)) {
		if m.Action != ActionGap {
			whole++
			continue
		}
		n, _ := strconv.Atoi(m.Actor.Attributes["lost"])
		lost += n
	}
	if lost == 0 || whole+lost != 30 {
		t.Errorf("%d whole, %d lost", whole, lost)
	}
}

func TestAFileThatCannotBeUsedCostsThePastAlone(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "absent", "events"))
	b.Publish(message(events.ContainerEventType, "start", "a"))
	if got := since(t, b, time.Now().Add(-time.Minute)); len(got) != 1 {
		t.Errorf("%v", got)
	}
	path := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(path, bytes.Repeat([]byte("rubbish"), 1e6), 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, path)
	b.Publish(message(events.ContainerEventType, "start", "b"))
	if got := since(t, open(t, path), time.Now().Add(-time.Minute)); len(got) != 1 || got[0].Actor.ID != "b" {
		t.Errorf("%v", got)
	}
}

func TestEnormousLabelsAreLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	b := open(t, path)
	b.Publish(message(events.ContainerEventType, "start", "a", "label", strings.Repeat("x", 1<<20)))
	got := since(t, open(t, path), time.Now().Add(-time.Minute))
	if len(got) != 1 || len(got[0].Actor.Attributes["label"]) != 0 || got[0].Actor.Attributes["attributes"] == "" {
		t.Errorf("%+v", got)
	}
}

func BenchmarkPublish(b *testing.B) {
	m := message(events.ContainerEventType, "start", strings.Repeat("a", 64), "name", "web", "image", "nginx")
	for _, c := range []struct {
		name string
		bus  *Bus
	}{{"memory", New()}, {"file", open(b, filepath.Join(b.TempDir(), "events"))}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.bus.Publish(m)
			}
		})
	}
}
