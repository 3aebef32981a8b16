package containers

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

// words is a list of strings, or one string as the oldest clients send.
type words []string

func (l *words) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil && string(raw) != "null" {
		*l = words{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(l))
}

// createBody is POST /containers/create with its historic forms.
type createBody struct {
	container.CreateRequest
	Cmd, Entrypoint words
	// MacAddress of the whole container, up to API 1.51; now one of each endpoint.
	MacAddress string
}

func (rt router) create(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	// The embedded pointer must be there: its fields may be all that is sent.
	body := createBody{CreateRequest: container.CreateRequest{Config: &container.Config{}}}
	if err := edge.Body(w, r, &body); err != nil {
		return err
	}
	req := request.Create{
		Name: strings.TrimPrefix(q.Get("name"), "/"), Config: body.Config,
		HostConfig: body.HostConfig, Networking: body.NetworkingConfig,
	}
	if req.Config == nil || body.Image == "" && len(body.Cmd) == 0 && len(body.Entrypoint) == 0 && req.HostConfig == nil {
		return edge.Invalid("config cannot be empty in order to create a container")
	}
	req.Config.Cmd, req.Config.Entrypoint = body.Cmd, body.Entrypoint
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	if req.HostConfig.NetworkMode == "" {
		req.HostConfig.NetworkMode = network.NetworkDefault
	}
	if req.Networking == nil {
		req.Networking = &network.NetworkingConfig{}
	}
	if !edge.Before(r, 41) {
		p, err := q.Platform("platform")
		if err != nil {
			return err
		}
		req.Platform = p
	}
	if err := ageCreate(r, &req); err != nil {
		return err
	}
	if err := moveMAC(r, &req, body.MacAddress); err != nil {
		return err
	}
	answer, err := rt.b.Create(r.Context(), req)
	if err != nil {
		return err
	}
	answer.Warnings = edge.List(answer.Warnings)
	return edge.Answer(w, http.StatusCreated, answer)
}

// ageCreate gives an old client's request the meaning that it had in its
// version: fields that came later are dropped, defaults that changed are as they were.
func ageCreate(r *http.Request, req *request.Create) error {
	hc := req.HostConfig
	if edge.Before(r, 25) {
		hc.AutoRemove = false
	}
	if edge.Before(r, 40) {
		hc.PidsLimit = nil
		if hc.IpcMode.IsEmpty() {
			hc.IpcMode = container.IPCModeShareable
		}
		for i := range hc.Mounts {
			if b := hc.Mounts[i].BindOptions; b != nil {
				b.NonRecursive = false
			}
		}
	}
	if edge.Before(r, 42) {
		hc.ConsoleSize = [2]uint{}
		for i := range hc.Mounts {
			if b := hc.Mounts[i].BindOptions; b != nil {
				b.CreateMountpoint = false
			}
		}
	}
	if edge.Before(r, 43) {
		hc.Annotations = nil
	}
	if edge.Before(r, 44) {
		if h := req.Config.Healthcheck; h != nil {
			h.StartInterval = 0
		}
		for i := range hc.Mounts {
			if b := hc.Mounts[i].BindOptions; b != nil {
				// Recursive read-only was not there yet, and nobody expects it.
				b.ReadOnlyNonRecursive, b.ReadOnlyForceRecursive = true, false
			}
		}
		if len(req.Networking.EndpointsConfig) > 1 {
			return edge.Invalid("Container cannot be created with multiple network endpoints")
		}
	}
	if edge.Before(r, 45) {
		for _, m := range hc.Mounts {
			if m.VolumeOptions != nil && m.VolumeOptions.Subpath != "" {
				return edge.Invalid("VolumeOptions.Subpath needs API v1.45 or newer")
			}
		}
	}
	return nil
}

// moveMAC gives the container-wide hardware address of older clients to the
// endpoint of the container's network mode.
func moveMAC(r *http.Request, req *request.Create, text string) error {
	if text == "" || !edge.Before(r, 52) {
		return nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil {
		return edge.Invalid(fmt.Sprintf("invalid MAC address %q", text))
	}
	mode := req.HostConfig.NetworkMode
	if mode.IsHost() || mode.IsNone() || mode.IsContainer() {
		return edge.Invalid("conflicting options: mac-address and the network mode")
	}
	name := string(mode)
	if mode.IsDefault() {
		name = network.NetworkBridge
	}
	for known := range req.Networking.EndpointsConfig {
		if mode.IsDefault() && known == network.NetworkDefault {
			name = known
		}
	}
	ep := req.Networking.EndpointsConfig[name]
	if ep == nil {
		ep = &network.EndpointSettings{}
	}
	if len(ep.MacAddress) > 0 && ep.MacAddress.String() != mac.String() {
		return edge.Invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
	}
	ep.MacAddress = network.HardwareAddr(mac)
	if req.Networking.EndpointsConfig == nil {
		req.Networking.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	req.Networking.EndpointsConfig[name] = ep
	return nil
}
