package image

import (
	"context"
	"maps"

	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// announcer tells of what happens to images. A nil events is nobody to tell.
type announcer struct {
	store  *store.Store
	events func(events.Message)
}

func (a *announcer) publish(action events.Action, id string, attributes map[string]string) {
	if a.events == nil {
		return
	}
	a.events(events.Message{
		Type: events.ImageEventType, Action: action, Scope: "local",
		Actor: events.Actor{ID: id, Attributes: attributes},
	})
}

// image is publish with an image's labels beside its name.
func (a *announcer) image(ctx context.Context, action events.Action, target ocispec.Descriptor, name string) {
	a.publish(action, target.Digest.String(), a.attributes(ctx, target, name))
}

func (a *announcer) attributes(ctx context.Context, target ocispec.Descriptor, name string) map[string]string {
	attributes := map[string]string{}
	if m, err := a.store.Select(ctx, target, nil); err == nil {
		maps.Copy(attributes, m.Config.Config.Labels)
	}
	attributes["name"] = name
	return attributes
}
