// Package record is what is known of one container: the durable record, the
// machine of its states, and the status that people see, a pure function of it.
//
//	created ──> starting ──> running <──> paused
//	   ▲ ▲         │  ▲         │           │
//	   │ └─────────┘  │         ├───────────┘
//	   │              │         ▼
//	   │              ├──── restarting
//	   │              │         │
//	   │              └───── exited
//	   └──> removing (from all that do not run, and from what runs
//	        but cannot be killed) ──> dead ──> removing
package record

import (
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/log"
)

// Record is one container. A published Record is never changed: a change makes
// a copy with a higher Seq.
type Record struct {
	// Seq counts changes; of two copies the higher one is the truth.
	Seq     uint64    `json:"seq"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Image   Image     `json:"image"`
	// Config is merged with the image's; HostConfig has its defaults filled in.
	Config     *container.Config                    `json:"config"`
	HostConfig *container.HostConfig                `json:"hostConfig"`
	Endpoints  map[string]*network.EndpointSettings `json:"endpoints,omitempty"`
	// Plugged, where not nil, is the network that connecting and disconnecting by
	// hand left the container on, "" where on none; else it is on that of its HostConfig.
	Plugged *string    `json:"plugged,omitempty"`
	Mounts  []Mount    `json:"mounts,omitempty"`
	Log     log.Config `json:"log"`
	State   State      `json:"state"`
	// RemoveVolumes says, of one that is being removed, that its anonymous volumes go too.
	RemoveVolumes bool `json:"removeVolumes,omitempty"`
	Net           Net  `json:"net"`
	// FirstID, where not 0, is the first of the host ids that are this container's
	// alone, in its own user namespace.
	FirstID uint32 `json:"firstID,omitempty"`
	// RestartCount counts starts by the restart policy since the last by hand.
	RestartCount int `json:"restartCount,omitempty"`
}

// Image is where the container came from.
type Image struct {
	ID string `json:"id"`
	// Ref is the reference as the person wrote it.
	Ref      string             `json:"ref"`
	Manifest ocispec.Descriptor `json:"manifest"`
	Platform ocispec.Platform   `json:"platform"`
}

// Mount is one resolved mount: a volume, a bind or a tmpfs.
type Mount struct {
	container.MountPoint
	// Anonymous volumes go with the container.
	Anonymous bool `json:"anonymous,omitempty"`
	// CopyUp: the volume takes what the image has at the destination when it is first used.
	CopyUp bool `json:"copyUp,omitempty"`
	// Subpath below the volume's root.
	Subpath string `json:"subpath,omitempty"`
	// NonRecursive binds only the mount itself; ReadOnlyNonRecursive and
	// ReadOnlyForceRecursive are as in the API's BindOptions.
	NonRecursive           bool `json:"nonRecursive,omitempty"`
	ReadOnlyNonRecursive   bool `json:"readOnlyNonRecursive,omitempty"`
	ReadOnlyForceRecursive bool `json:"readOnlyForceRecursive,omitempty"`
	// IDMap: files belong to whom they belong to on the host, by number.
	IDMap bool `json:"idMap,omitempty"`
	// TmpfsOptions in the form of mount(8).
	TmpfsOptions []string `json:"tmpfsOptions,omitempty"`
	// Spec is set for mounts asked for in the API's mount form.
	Spec *mount.Mount `json:"spec,omitempty"`
}

// Net is the container's place on its networks while it runs.
type Net struct {
	SandboxID string                               `json:"sandboxID,omitempty"`
	Networks  map[string]*network.EndpointSettings `json:"networks,omitempty"`
	Ports     network.PortMap                      `json:"ports,omitempty"`
}

// State is the container's state and what goes with it.
type State struct {
	Phase Phase `json:"phase"`
	// Pid is the first process's number on the host while it runs, StartTicks
	// its start in clock ticks since boot (field 22 of /proc/PID/stat).
	Pid        int    `json:"pid,omitempty"`
	StartTicks uint64 `json:"startTicks,omitempty"`
	// BootID names the boot of the host during which it was last started.
	BootID     string    `json:"bootID,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	ExitCode   int       `json:"exitCode"`
	Error      string    `json:"error,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	// Stopped by a person: restart policies keep away until started by hand.
	Stopped bool `json:"stopped,omitempty"`
	// Held is a pause by the engine itself, for the time of a commit: a daemon
	// that finds it when it starts ends it.
	Held bool `json:"held,omitempty"`
}

// Network is the network that the container is on or will be when it starts; "" is none at all.
func (r *Record) Network() container.NetworkMode {
	if r.Plugged != nil {
		return container.NetworkMode(*r.Plugged)
	}
	return r.HostConfig.NetworkMode
}

// Ref is the name as the API writes it, with a slash.
func (r *Record) Ref() string { return "/" + r.Name }

// With returns a copy with a higher Seq that change was applied to.
func (r *Record) With(change func(*Record)) *Record {
	next := *r
	next.Seq++
	change(&next)
	return &next
}

// Move returns a copy in phase to, or *TransitionError.
func (r *Record) Move(to Phase, change func(*Record)) (*Record, error) {
	if err := r.State.Phase.CanBecome(to); err != nil {
		return nil, err
	}
	return r.With(func(n *Record) {
		n.State.Phase, n.State.Held = to, false
		if !to.HasProcess() {
			n.State.Pid, n.State.StartTicks = 0, 0
		}
		if change != nil {
			change(n)
		}
	}), nil
}
