// Package image is the engine's images: their names, what they are made of, how
// they come in and go out, and the writable layers of containers on top of them.
//
// An image's id is the digest of what its name points at, a manifest or an
// index, as in Docker 29 with its containerd image store.
package image

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/hello"
	"hoy/internal/image/store"
	"hoy/internal/image/transfer"
	"hoy/internal/image/view"
	"hoy/internal/request"
)

// Image is one platform of an image, resolved.
type Image struct {
	// ID is the digest of Target, "sha256:…".
	ID string
	// Name is the name it was found by, in full; empty where found by id.
	Name string
	// Target is what the name points at: a manifest or an index.
	Target ocispec.Descriptor
	// Manifest is the chosen platform's manifest.
	Manifest ocispec.Descriptor
	Config   dockerspec.DockerOCIImage
	// ChainID names the unpacked layers; empty where there are none.
	ChainID  digest.Digest
	Platform ocispec.Platform
}

// Use says that a container uses an image.
type Use struct {
	// ImageID is the Image.ID that the container was made of.
	ImageID, ContainerID string
	// Ref is what the person named it by.
	Ref     string
	Running bool
}

// Options of Open. Events, Users and Log may be nil.
type Options struct {
	Root string
	// Snapshotter is "overlayfs", "native" or empty for the best that works.
	Snapshotter string
	// InsecureRegistries are hosts or address ranges (CIDR) that may be spoken
	// to by plain HTTP and without a known certificate.
	InsecureRegistries []string
	// RegistryMirrors are base URLs that are asked before Docker Hub.
	RegistryMirrors []string
	Events          func(events.Message)
	Users           func() []Use
	Log             *slog.Logger
}

// Service is safe for concurrent use.
type Service struct {
	store    *store.Store
	names    *catalog.Catalog
	view     *view.Images
	registry atomic.Pointer[transfer.Client]
	events   func(events.Message)
	users    func() []Use
	log      *slog.Logger
}

// Open opens the image store at opt.Root and sweeps what an earlier process left.
func Open(ctx context.Context, opt Options) (*Service, error) {
	s := &Service{events: opt.Events, users: opt.Users, log: opt.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.events == nil {
		s.events = func(events.Message) {}
	}
	if s.users == nil {
		s.users = func() []Use { return nil }
	}
	var err error
	if err = s.SetRegistries(opt.InsecureRegistries, opt.RegistryMirrors); err != nil {
		return nil, err
	}
	s.store, err = store.Open(ctx, store.Options{Root: opt.Root, Snapshotter: opt.Snapshotter, Log: s.log})
	if err != nil {
		return nil, err
	}
	s.names = catalog.New(s.store)
	s.view = &view.Images{Store: s.store, Names: s.names, Log: s.log, Users: s.containersByImage}
	return s, nil
}

// Close waits for removals under way and closes the store.
func (s *Service) Close() error { return s.store.Close() }

// Driver names the storage driver in use.
func (s *Service) Driver() string { return s.store.Driver() }

// Count is the number of images.
func (s *Service) Count() int {
	all, err := s.names.All(context.Background())
	if err != nil {
		s.log.Warn("images cannot be counted", "error", err)
		return 0
	}
	return len(all)
}

// SetRegistries replaces how registries are spoken to, see Options; transfers
// that run go on as they began.
func (s *Service) SetRegistries(insecure, mirrors []string) error {
	c, err := transfer.NewClient(insecure, mirrors)
	if err != nil {
		return err
	}
	s.registry.Store(c)
	return nil
}

// SetUsers sets who tells which containers use which image; call it before
// anything else uses the service.
func (s *Service) SetUsers(users func() []Use) { s.users = users }

func (s *Service) publish(action events.Action, id string, attributes map[string]string) {
	s.events(events.Message{
		Type: events.ImageEventType, Action: action, Scope: "local",
		Actor: events.Actor{ID: id, Attributes: attributes},
	})
}

// event is publish with an image's labels beside its name.
func (s *Service) event(ctx context.Context, action events.Action, target ocispec.Descriptor, name string) {
	attributes := map[string]string{}
	if m, err := s.store.Select(ctx, target, nil); err == nil {
		for k, v := range m.Config.Config.Labels {
			attributes[k] = v
		}
	}
	attributes["name"] = name
	s.publish(action, target.Digest.String(), attributes)
}

// helloFor loads the built-in image where ref is to it and it is not here.
func (s *Service) helloFor(ctx context.Context, ref string) error {
	if !catalog.IsHello(ref) {
		return nil
	}
	if _, _, err := s.names.Find(ctx, ref); !errdefs.IsNotFound(err) {
		return err
	}
	return s.loadHello(ctx)
}

// loadHello puts the built-in image in the store under its name.
func (s *Service) loadHello(ctx context.Context) error {
	lctx, done, err := s.store.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	target, err := hello.Write(lctx, s.store)
	if err != nil {
		return fmt.Errorf("built-in image: %w", err)
	}
	return s.names.Put(ctx, hello.Name, target)
}

// List gives the images, newest first.
func (s *Service) List(ctx context.Context, opt request.ImageList) ([]*image.Summary, error) {
	return s.view.List(ctx, opt)
}

// Inspect tells all about one image.
func (s *Service) Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (*image.InspectResponse, error) {
	if err := s.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	return s.view.Inspect(ctx, ref, platform, manifests)
}

// History tells how an image was made, last step first.
func (s *Service) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]*image.HistoryResponseItem, error) {
	if err := s.helloFor(ctx, ref); err != nil {
		return nil, err
	}
	return s.view.History(ctx, ref, platform)
}

func (s *Service) usesByImage() map[string][]Use {
	byImage := map[string][]Use{}
	for _, u := range s.users() {
		byImage[u.ImageID] = append(byImage[u.ImageID], u)
	}
	return byImage
}

func (s *Service) containersByImage() map[string][]string {
	byImage := map[string][]string{}
	for _, u := range s.users() {
		byImage[u.ImageID] = append(byImage[u.ImageID], u.ContainerID)
	}
	return byImage
}
