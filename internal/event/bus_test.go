package event

import (
	"context"
	"log/slog"
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

func TestAStuckReaderIsEndedAndHoldsUpNobody(t *testing.T) {
	var text strings.Builder
	b := New(slog.New(slog.NewTextHandler(&text, nil)))
	seq := b.Subscribe(t.Context(), time.Time{}, time.Time{}, nil)
	for range maxQueued + 10 {
		b.Publish(message(events.ContainerEventType, "start", "a"))
	}
	n := 0
	for range seq {
		n++
	}
	if n != maxQueued || !strings.Contains(text.String(), "does not keep up") {
		t.Errorf("%d messages, log %q", n, &text)
	}
}
