// Package deps names what a container's life needs of the rooms below it, as
// small interfaces that tests stand in for with in-memory doubles.
package deps

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	volumetypes "github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/runtimes"
	"hoy/internal/container/users"
	"hoy/internal/log"
	"hoy/internal/log/forward"
	"hoy/internal/monitor"
	"hoy/internal/reconcile"
	"hoy/internal/request"
	"hoy/internal/runtime"
	"hoy/internal/runtime/cgroup/tree"
	"hoy/internal/runtime/userns"
)

// Image is what a container takes from an image.
type Image struct {
	// ID is the image's digest, "sha256:…".
	ID string
	// Name is the reference that it was found by, in familiar form.
	Name     string
	Manifest ocispec.Descriptor
	Config   dockerspec.DockerOCIImage
	Platform ocispec.Platform
	// Handle is the image room's own value, handed back to it untouched.
	Handle any
}

// CommitOptions of an image made from a container.
type CommitOptions struct {
	Config          container.Config
	Author, Comment string
	// Ref to tag the new image with, "repo:tag"; empty leaves it nameless.
	Ref     string
	Changes []string
	Time    time.Time
	// Hide are the places where the engine itself puts something to mount on.
	Hide []string
}

// Images resolves references and keeps writable snapshots by key.
type Images interface {
	// Resolve finds a local image; an absent one is errdefs.ErrNotFound in Docker's words.
	Resolve(ctx context.Context, ref string, platform *ocispec.Platform) (*Image, error)
	Prepare(ctx context.Context, key string, img *Image) error
	Mounts(ctx context.Context, key string) ([]runtime.RootMount, error)
	RemoveSnapshot(ctx context.Context, key string) error
	// SnapshotUsage gives the sizes in bytes of writable layers alone; of large
	// ones they may be some time old.
	SnapshotUsage(ctx context.Context, keys ...string) []int64
	// ImageSize is the size in bytes of the image's unpacked layers.
	ImageSize(ctx context.Context, img *Image) (int64, error)
	// Snapshots lists the keys of all writable snapshots.
	Snapshots(ctx context.Context) ([]string, error)
	SnapshotChanges(ctx context.Context, key string) ([]container.FilesystemChange, error)
	Commit(ctx context.Context, key string, parent *Image, opt CommitOptions) (string, error)
	// Driver names the snapshotter.
	Driver() string
}

// NetRequest is one container's wish to be on a network.
type NetRequest struct {
	ContainerID, Name    string
	Hostname, Domainname string
	Mode                 container.NetworkMode
	Endpoint             *network.EndpointSettings
	Ports                network.PortMap
	PublishAll           bool
	Exposed              network.PortSet
	DNS                  []netip.Addr
	DNSSearch            []string
	DNSOptions           []string
	ExtraHosts           []string
	// Dir is where hosts, hostname and resolv.conf are written.
	Dir string
	// PeerPid is the host pid of the container whose network is shared.
	PeerPid int
	// NetNS, where not nil, is the namespace to use in place of a new one; it
	// belongs to the container's user namespace and stays the caller's.
	NetNS *os.File
	// InUse says that NetNS is that of a container that runs.
	InUse bool
	// Unplugged asks for a namespace without any network, whatever the mode.
	Unplugged bool
}

// Attachment is a container's place on a network. A nil NetNS is the host's own.
type Attachment struct {
	NetNS     *os.File
	SandboxID string
	Networks  map[string]*network.EndpointSettings
	Ports     network.PortMap
}

// Held is what a container that runs still holds, told again after a restart of the daemon.
type Held struct {
	ContainerID, Name string
	Networks          map[string]*network.EndpointSettings
	Ports             network.PortMap
}

// Networks attaches containers.
type Networks interface {
	Validate(req NetRequest) error
	Attach(ctx context.Context, req NetRequest) (*Attachment, error)
	// Detach frees all that the container holds; it is idempotent.
	Detach(ctx context.Context, containerID string) error
	// Find gives a network's name by name, id or the beginning of one.
	Find(ref string) (string, error)
	// Unplug takes the network of req.Mode from a container whose namespace lives
	// on; of one that does not run it only tells. On error nothing has changed.
	Unplug(ctx context.Context, req NetRequest) error
	// Restore claims again what is held and frees all else.
	Restore(ctx context.Context, held []Held) error
}

// Volumes keeps named directories and counts their users.
type Volumes interface {
	// Create returns the existing volume of that name; an empty name makes an anonymous one.
	Create(ctx context.Context, opt volumetypes.CreateRequest) (*volumetypes.Volume, error)
	Inspect(ctx context.Context, name string) (*volumetypes.Volume, error)
	Acquire(ctx context.Context, name, containerID string) (mountpoint string, err error)
	Release(ctx context.Context, name, containerID string) error
	Remove(ctx context.Context, name string, force bool) error
}

// Monitor is the parent of the container processes.
type Monitor interface {
	Start(ctx context.Context, req monitor.StartRequest) (monitor.Started, error)
	Signal(ctx context.Context, id monitor.ProcessID, sig syscall.Signal) error
	Resize(ctx context.Context, id monitor.ProcessID, height, width uint32) error
	Attach(ctx context.Context, req monitor.AttachRequest) (net.Conn, error)
	List(ctx context.Context) ([]monitor.ProcessState, error)
	Exits() <-chan monitor.Exit
	Forget(ctx context.Context, id monitor.ProcessID) error
}

// Group is one container's cgroup.
type Group interface {
	// Procs are the cgroup.procs files that a first process is written to.
	Procs() []string
	// Joined says that the first process is in the group.
	Joined()
	Path() string
	Update(r *specs.LinuxResources) error
	Freeze() error
	Thaw() error
	// Frozen says whether it is, by whoever.
	Frozen() (bool, error)
	Pids() ([]int, error)
	OOMKills() (uint64, error)
	Kill() error
	Remove() error
	// Sample reads counters; pid, where not 0, is whose network devices are read.
	Sample(pid int) (*container.StatsResponse, error)
}

// Cgroups makes and finds the cgroups of one engine.
type Cgroups interface {
	// Create makes a group; parent is "" for the engine's own.
	Create(parent, id string, r *specs.LinuxResources) (Group, error)
	Open(parent, id string) (Group, error)
	// Check says whether parent can be one.
	Check(parent string) error
	// Support is what the kernel can limit; nil is everything.
	Support() *tree.Support
	List() ([]string, error)
	Driver() string
	// Version is 1 or 2.
	Version() string
}

// Seccomp compiles system call filters; results may be cached by content.
type Seccomp interface {
	// Default is the profile for a container that holds these capabilities (CAP_… names).
	Default(capabilities []string) (*specs.LinuxSeccomp, error)
	// Parse reads a profile in Docker's JSON form.
	Parse(profile string, capabilities []string) (*specs.LinuxSeccomp, error)
	Compile(s *specs.LinuxSeccomp) ([]byte, error)
}

// Owner is a user and a group, by number.
type Owner struct{ UID, GID int }

// Archive reads and writes files below an O_PATH root, never outside it.
type Archive interface {
	Stat(root *os.File, path string) (container.PathStat, error)
	Get(root *os.File, path string) (container.PathStat, io.ReadCloser, error)
	// Put gives all that it unpacks to owner, unless that is nil.
	Put(root *os.File, path string, opt request.PutArchive, owner *Owner, content io.Reader) error
	// Owner looks a user ("uid", "name", "uid:gid" …) up in the root's own files.
	Owner(root *os.File, user string) (*Owner, error)
	Export(root *os.File, w io.Writer) error
	// CopyUp fills the empty directory dstDir with what srcPath holds.
	CopyUp(root *os.File, srcPath, dstDir string) error
	// In is the same for a root whose owners are seen through a user namespace:
	// what it reads and writes has the ids of that.
	In(m *userns.Map) Archive
	// MountRoot gives a detached mount's root directory; closing it frees the mount.
	MountRoot(mounts []runtime.RootMount, readOnly bool) (*os.File, error)
}

// Forward carries logs to where their drivers send them.
type Forward interface {
	// Follow forwards until ended is closed and all was taken.
	Follow(t forward.Target, ended <-chan struct{})
	// Drain forwards what is left of the log of a container that does not run.
	Drain(t forward.Target)
	// Dropped is how many records were thrown away before their server took them.
	Dropped() uint64
	// Forget is told that a container is about to be removed; what is left of its log goes on being sent.
	Forget(id string)
}

// LogOptions choose which of a container's log entries are read.
type LogOptions struct {
	Stdout, Stderr, Follow bool
	Since, Until           time.Time
	Tail                   int
}

// Deps is everything together. All fields must be set.
type Deps struct {
	Images   Images
	Networks Networks
	Volumes  Volumes
	Monitor  Monitor
	Cgroups  Cgroups
	Seccomp  Seccomp
	Archive  Archive
	// Logs reads a container's log; following ends when ended is closed.
	Logs func(ctx context.Context, cfg log.Config, opt LogOptions, ended <-chan struct{}) iter.Seq2[log.Entry, error]
	// Forward may be nil: then logs stay where they are.
	Forward Forward
	// Top lists processes in the form of ps.
	Top    func(ctx context.Context, pids []int, psArgs string) (container.TopResponse, error)
	Events func(events.Message)
	// Told gives what answers whether an event since a time is among the last
	// ones that were kept: asked once, after the daemon's start. See event.Bus.
	Told func() func(actor string, action events.Action, since time.Time) bool
	Log  *slog.Logger
	// Damages is told of damaged files; nil forgets.
	Damages *reconcile.Damages
	// Now is the clock.
	Now func() time.Time
}

// Settings are the engine's choices that containers depend on.
type Settings struct {
	// Root is the data root; containers live in Root/containers/ID.
	Root string
	// Runtime is the host path of hoy-run, which is also the reaper of --init.
	Runtime string
	// Runtimes are those that containers may name.
	Runtimes *runtimes.Table
	// Init makes --init the default.
	Init bool
	// LogDriver and LogOptions are used where a container names none.
	LogDriver  string
	LogOptions map[string]string
	// DefaultShmSize in bytes; 0 is 64 MiB.
	DefaultShmSize int64
	// Ulimits are the defaults for containers.
	Ulimits map[string]*container.Ulimit
	// CgroupnsMode, IpcMode: the defaults; empty is what Docker has on this kernel.
	CgroupnsMode container.CgroupnsMode
	IpcMode      container.IpcMode
	// SeccompProfile is "" or "builtin" for the default, "unconfined", or JSON.
	SeccompProfile string
	// NoNewPrivileges is the default.
	NoNewPrivileges bool
	// Remap, where not nil, is the user namespace of containers that ask for none.
	Remap *userns.Map
	// Blocks are the ids of containers with a mapping of their own.
	Blocks *users.Pool
	// DNS defaults.
	DNS                   []netip.Addr
	DNSSearch, DNSOptions []string
	// StopTimeout in seconds where neither client nor container say; 0 is 10.
	StopTimeout int
	// CPUs is how many the host has; Memory its bytes.
	CPUs   int
	Memory int64
}
