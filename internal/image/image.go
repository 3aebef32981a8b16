// Package image is the engine's images: their names, what they are made of, how
// they come in and go out, and the writable layers of containers on top of them.
//
// An image's id is the digest of what its name points at, a manifest or an
// index, as in Docker 29 with its containerd image store.
package image

import (
	"context"
	"log/slog"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
	"hoy/internal/image/view"
	"hoy/internal/reconcile"
	"hoy/internal/space"
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
	// Disk knows how much room there is; nil knows of no bound.
	Disk *space.Disk
	// Damages is told of damaged files; nil forgets.
	Damages *reconcile.Damages
	// Meter counts what layers take; nil is one of its own.
	Meter *space.Meter
}

// Service is safe for concurrent use. Its parts are the images that are here,
// the way to registries, the archives that images come and go in, and the root
// file systems of containers.
type Service struct {
	*finder
	*library
	*registries
	*archives
	*roots

	store *store.Store
	users *users
}

// Open opens the image store at opt.Root and sweeps what an earlier process left.
func Open(ctx context.Context, opt Options) (*Service, error) {
	log := opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if opt.Meter == nil {
		opt.Meter = space.NewMeter("")
	}
	way := &registries{}
	if err := way.SetRegistries(opt.InsecureRegistries, opt.RegistryMirrors); err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Options{Root: opt.Root, Snapshotter: opt.Snapshotter, Log: log, Damages: opt.Damages})
	if err != nil {
		return nil, err
	}
	names, who := catalog.New(st), &users{list: opt.Users}
	shown := &view.Images{Store: st, Names: names, Log: log, Users: who.containers}
	find := &finder{store: st, names: names, view: shown}
	tell := &announcer{store: st, events: opt.Events}
	room := &room{disk: opt.Disk, store: st}
	way.store, way.find, way.tell, way.room = st, find, tell, room
	return &Service{
		finder:     find,
		library:    &library{store: st, names: names, view: shown, find: find, tell: tell, users: who, log: log},
		registries: way,
		archives:   &archives{store: st, find: find, tell: tell, room: room},
		roots:      &roots{store: st, names: names, view: shown, tell: tell, room: room, meter: opt.Meter},
		store:      st, users: who,
	}, nil
}

// Close waits for removals under way and closes the store.
func (s *Service) Close() error { return s.store.Close() }

// Driver names the storage driver in use.
func (s *Service) Driver() string { return s.store.Driver() }

// SetUsers sets who tells which containers use which image; call it before
// anything else uses the service.
func (s *Service) SetUsers(list func() []Use) { s.users.list = list }

// users knows which containers use which image. A nil list is none.
type users struct{ list func() []Use }

func (u *users) byImage() map[string][]Use {
	byImage := map[string][]Use{}
	if u.list == nil {
		return byImage
	}
	for _, use := range u.list() {
		byImage[use.ImageID] = append(byImage[use.ImageID], use)
	}
	return byImage
}

// containers gives the ids of containers by that of their image.
func (u *users) containers() map[string][]string {
	byImage := map[string][]string{}
	for image, uses := range u.byImage() {
		for _, use := range uses {
			byImage[image] = append(byImage[image], use.ContainerID)
		}
	}
	return byImage
}
