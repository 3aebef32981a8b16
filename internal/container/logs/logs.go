// Package logs says what a container's log is made of, and has those forwarded
// whose driver sends them elsewhere.
package logs

import (
	"hoy/internal/container/config"
	"hoy/internal/container/deps"
	"hoy/internal/container/index"
	"hoy/internal/container/record"
	"hoy/internal/log"
	"hoy/internal/log/forward"
	"hoy/internal/log/options"
)

// Info is what tags and attributes are made of.
func Info(r *record.Record) options.Info {
	i := options.Info{
		Config: r.HostConfig.LogConfig.Config, ContainerID: r.ID, ContainerName: r.Ref(), ContainerCreated: r.Created,
		ContainerImageID: r.Image.ID, ContainerImageName: r.Config.Image, ContainerEnv: r.Config.Env,
		ContainerLabels: r.Config.Labels, LogPath: r.Log.Path, DaemonName: "docker",
	}
	if argv := config.Command(r.Config); len(argv) > 0 {
		i.ContainerEntrypoint, i.ContainerArgs = argv[0], argv[1:]
	}
	return i
}

// Config is how the output of a container that is about to start is kept; nil where it is not.
func Config(r *record.Record) (*log.Config, error) {
	if r.Log.Driver == log.None {
		return nil, nil
	}
	if err := options.Ready(r.Log.Driver); err != nil {
		return nil, err
	}
	info := Info(r)
	c := r.Log
	var err error
	c.Attrs, err = info.Attrs()
	return &c, err
}

// Forward sees that containers' logs go where their drivers send them.
type Forward struct{ To deps.Forward }

// Changed is told of every change of a container.
func (f Forward) Changed(e *index.Entry, r *record.Record) {
	if f.To == nil || !options.Forwarded(r.Log.Driver) {
		return
	}
	run := e.Run()
	switch {
	case r.State.Phase == record.Removing:
		f.To.Forget(r.ID)
	case r.State.Phase == record.Created:
	case r.State.Phase.HasProcess() && run != nil:
		f.To.Follow(target(r), run.Ended)
	default:
		f.To.Drain(target(r))
	}
}

func target(r *record.Record) forward.Target { return forward.Target{Log: r.Log, Info: Info(r)} }
