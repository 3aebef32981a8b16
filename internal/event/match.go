package event

import (
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/filter"
)

// FilterKeys are the filters that `GET /events` knows.
var FilterKeys = []string{
	"config", "container", "daemon", "event", "image", "label", "network", "node",
	"plugin", "scope", "secret", "service", "type", "volume",
}

// named are the types whose filter looks at the actor's id and name.
var named = []events.Type{
	events.DaemonEventType, events.ContainerEventType, events.PluginEventType, events.VolumeEventType,
	events.NetworkEventType, events.ServiceEventType, events.NodeEventType, events.SecretEventType,
	events.ConfigEventType,
}

// Match says whether m is what f asks for, by the rules of Docker's daemon.
func Match(f filter.Args, m events.Message) bool {
	if len(f) == 0 {
		return true
	}
	if !f.Match("type", string(m.Type)) || !f.Match("scope", m.Scope) || !matchAction(f, string(m.Action)) {
		return false
	}
	for _, t := range named {
		if !f.MatchFunc(string(t), func(v string) bool {
			return strings.HasPrefix(m.Actor.ID, v) || strings.HasPrefix(m.Actor.Attributes["name"], v)
		}) {
			return false
		}
	}
	return matchImage(f, m) && f.MatchLabels("label", m.Actor.Attributes)
}

// matchAction compares by prefix where the filter names an action that is
// always followed by details ("exec_start: /bin/sh").
func matchAction(f filter.Args, action string) bool {
	detailed := slices.ContainsFunc(f["event"], func(v string) bool {
		switch events.Action(v) {
		case events.ActionHealthStatus, events.ActionExecCreate, events.ActionExecStart:
			return true
		}
		return false
	})
	if !detailed {
		return f.Match("event", action)
	}
	return f.MatchFunc("event", func(v string) bool { return strings.HasPrefix(action, v) })
}

// matchImage looks at the image of image and of container events, with and
// without its tag.
func matchImage(f filter.Args, m events.Message) bool {
	if !f.Has("image") {
		return true
	}
	attribute := "image"
	if m.Type == events.ImageEventType {
		attribute = "name"
	}
	id, name := m.Actor.ID, m.Actor.Attributes[attribute]
	return f.MatchFunc("image", func(v string) bool {
		return v == id || v == name || v == familiar(id) || v == familiar(name)
	})
}

// familiar is an image's name as people write it, without tag and digest.
func familiar(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarName(named)
}
