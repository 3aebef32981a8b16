package files

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"hoy/internal/container/core"
	"hoy/internal/container/deps"
	"hoy/internal/container/record"
	"hoy/internal/request"
)

// Commit of api/containers.
func (f *Files) Commit(ctx context.Context, opt request.Commit) (string, error) {
	e, err := f.Index.Find(opt.Container)
	if err != nil {
		return "", err
	}
	r := e.Record()
	if r.State.Phase == record.Removing || r.State.Phase == record.Dead {
		return "", core.Conflict("You cannot commit container %s which is being removed", r.ID)
	}
	ref := opt.Repo
	if ref != "" && opt.Tag != "" {
		ref += ":" + opt.Tag
	}
	parent, err := f.Images.Resolve(ctx, r.Image.ID, &r.Image.Platform)
	if err != nil {
		return "", err
	}
	cfg := commitConfig(r.Config, opt.Config)
	var id string
	commit := func() error {
		id, err = f.Images.Commit(ctx, r.ID, parent, deps.CommitOptions{
			Config: *cfg, Author: opt.Author, Comment: opt.Comment, Ref: ref, Changes: opt.Changes, Time: f.Now().UTC(), Hide: furniture,
		})
		return err
	}
	if opt.Pause {
		err = f.WhilePaused(ctx, e, commit)
	} else {
		err = commit()
	}
	if err != nil {
		return "", err
	}
	f.Event(r, events.ActionCommit, map[string]string{"comment": opt.Comment, "imageID": id, "imageRef": ref})
	return id, nil
}

// commitConfig is the container's configuration with what was asked for over it.
func commitConfig(own, asked *container.Config) *container.Config {
	out := *own
	// Names of this one container mean nothing to the next.
	out.Hostname, out.Domainname, out.Image = "", "", own.Image
	if asked == nil {
		return &out
	}
	if asked.User != "" {
		out.User = asked.User
	}
	if len(asked.Env) > 0 {
		out.Env = asked.Env
	}
	if len(asked.Cmd) > 0 {
		out.Cmd = asked.Cmd
	}
	if len(asked.Entrypoint) > 0 {
		out.Entrypoint = asked.Entrypoint
	}
	if asked.WorkingDir != "" {
		out.WorkingDir = asked.WorkingDir
	}
	if len(asked.Labels) > 0 {
		out.Labels = asked.Labels
	}
	if len(asked.ExposedPorts) > 0 {
		out.ExposedPorts = asked.ExposedPorts
	}
	if len(asked.Volumes) > 0 {
		out.Volumes = asked.Volumes
	}
	if asked.StopSignal != "" {
		out.StopSignal = asked.StopSignal
	}
	if asked.Healthcheck != nil {
		out.Healthcheck = asked.Healthcheck
	}
	return &out
}
