// Package absent answers for what the engine does not have: each endpoint of
// the Docker API that is not served says why in plain words.
package absent

import (
	"net/http"

	"github.com/containerd/errdefs"

	"hoy/internal/api/edge"
)

var (
	noBuild       = errdefs.ErrNotImplemented.WithMessage("building images is not implemented in this engine yet; build elsewhere and use load, import or pull")
	noCheckpoint  = errdefs.ErrNotImplemented.WithMessage("checkpoints are not implemented in this engine")
	noPlugin      = errdefs.ErrNotImplemented.WithMessage("managed plugins are not implemented in this engine")
	noSwarm       = errdefs.ErrNotImplemented.WithMessage("swarm mode is not implemented in this engine")
	notSwarmNode  = errdefs.ErrUnavailable.WithMessage("This node is not part of a swarm")
	notInSwarm    = errdefs.ErrUnavailable.WithMessage(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	noSuchPlugin  = errdefs.ErrNotFound.WithMessage("plugin not found: managed plugins are not implemented in this engine")
	noBuildCancel = errdefs.ErrNotFound.WithMessage("no such build: building images is not implemented in this engine yet")
)

// Register adds the routes.
func Register(on edge.Routes) {
	refuse := func(err error, patterns ...string) {
		for _, p := range patterns {
			on.Handle(p, func(http.ResponseWriter, *http.Request) error { return err })
		}
	}
	refuse(noBuild, "POST /build", "POST /session", "POST /grpc")
	refuse(noBuildCancel, "POST /build/cancel")
	refuse(noCheckpoint, "GET /containers/{id}/checkpoints", "POST /containers/{id}/checkpoints", "DELETE /containers/{id}/checkpoints/{checkpoint}")
	refuse(noPlugin, "GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create")
	refuse(noSuchPlugin, "GET /plugins/{name...}", "POST /plugins/{name...}", "DELETE /plugins/{name...}")
	refuse(noSwarm, "POST /swarm/init", "POST /swarm/join")
	refuse(notSwarmNode, "POST /swarm/leave", "POST /swarm/unlock")
	refuse(notInSwarm, "GET /swarm", "GET /swarm/unlockkey", "POST /swarm/update")
	for _, kind := range []string{"nodes", "services", "tasks", "secrets", "configs"} {
		refuse(notInSwarm, "/"+kind, "/"+kind+"/{rest...}")
	}
	on.Handle("GET /plugins", func(w http.ResponseWriter, _ *http.Request) error {
		return edge.Answer(w, http.StatusOK, []any{})
	})
	// There is no build cache, so pruning it is done at once: "system prune" asks for it.
	on.Handle("POST /build/prune", func(w http.ResponseWriter, _ *http.Request) error {
		return edge.Answer(w, http.StatusOK, map[string]any{"CachesDeleted": nil, "SpaceReclaimed": 0})
	})
}
