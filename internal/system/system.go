// Package system answers what concerns the engine as a whole: what it is, what
// it runs on, how much disk it uses, what happens in it.
package system

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"

	"hoy/internal/container/runtimes"
	"hoy/internal/filter"
	"hoy/internal/reconcile"
	"hoy/internal/request"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/space"
)

// Containers is what is needed of the containers' room.
type Containers interface {
	List(ctx context.Context, opt request.List) ([]container.Summary, error)
}

// Images is what is needed of the images' room.
type Images interface {
	Count() int
	Driver() string
	DiskUsage(ctx context.Context, verbose bool) (*image.DiskUsage, error)
}

// Volumes is what is needed of the volumes' room.
type Volumes interface {
	// DiskUsage lists all volumes with their sizes.
	DiskUsage(ctx context.Context) (volume.DiskUsage, error)
}

// Cgroups is what is needed of the cgroups.
type Cgroups interface {
	// Support is what the kernel can limit.
	Support() *tree.Support
	Driver() string
	Version() string
}

// Runtimes is what is needed of the containers' runtimes.
type Runtimes interface {
	List() map[string]runtimes.Info
	Default() string
}

// Events is what is needed of the event bus.
type Events interface {
	Subscribe(ctx context.Context, since, until time.Time, f filter.Args) iter.Seq[events.Message]
	Subscribers() int
}

// Settings is what GET /info tells of the configuration.
type Settings struct {
	// ID of this engine, kept with its data.
	ID       string
	DataRoot string
	Debug    bool
	Labels   []string
	// InsecureRegistries are hosts and CIDRs, Mirrors addresses.
	InsecureRegistries, Mirrors []string
	LogDriver                   string
	// SeccompProfile is "" or "builtin", "unconfined", or a path.
	SeccompProfile  string
	NoNewPrivileges bool
	// Remapped: containers have a user namespace unless they ask for the host's.
	Remapped bool
	// Runtime is the path of hoy-run.
	Runtime string
	// FirewallTable names our nftables table.
	FirewallTable string
	// Pools that default networks take their subnets from.
	Pools []netip.Prefix
	// Insecure are addresses that plain TCP is served on.
	Insecure []string
}

// Deps is everything together. Settings gives those of the moment.
type Deps struct {
	Containers Containers
	Images     Images
	Volumes    Volumes
	Cgroups    Cgroups
	Events     Events
	Runtimes   Runtimes
	Settings   func() Settings
	// Usage counts all below the data root, Room asks its file system and the reserve on it.
	Usage func(ctx context.Context) *space.Usage
	Room  func() (room space.Room, reserve int64, err error)
	// Loop compares store and machine.
	Loop *reconcile.Loop
}

// Check lists the differences between what the store says and what the machine
// has, and repairs them where that is asked for.
func (s *Service) Check(ctx context.Context, opt reconcile.Options) []reconcile.Finding {
	return s.d.Loop.Check(ctx, opt)
}

// Service answers. It keeps nothing but what it was given.
type Service struct{ d Deps }

// New makes the service.
func New(d Deps) *Service { return &Service{d} }

// Events yields what happens, see [request.Events].
func (s *Service) Events(ctx context.Context, opt request.Events) iter.Seq[events.Message] {
	return s.d.Events.Subscribe(ctx, opt.Since, opt.Until, opt.Filters)
}
