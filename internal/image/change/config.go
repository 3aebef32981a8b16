package change

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"
)

func validSignal(s string) bool {
	_, err := signal.ParseSignal(s)
	return err == nil
}

// maxPorts bounds what one range of EXPOSE may add.
const maxPorts = 65536

func addPorts(cfg *container.Config, specs []string) error {
	ports := network.PortSet{}
	for p := range cfg.ExposedPorts {
		ports[p] = struct{}{}
	}
	for _, spec := range specs {
		r, err := network.ParsePortRange(spec)
		if err != nil {
			return fmt.Errorf("invalid port %q: %w", spec, err)
		}
		if r.Start() == 0 {
			return fmt.Errorf("invalid port %q: there is no port 0", spec)
		}
		for p := range r.All() {
			ports[p] = struct{}{}
		}
		if len(ports) > 3*maxPorts {
			return fmt.Errorf("too many ports")
		}
	}
	cfg.ExposedPorts = ports
	return nil
}

// healthcheck reads NONE, or options and then CMD with a command.
func healthcheck(cfg *container.Config, args string) error {
	h := &container.HealthConfig{}
	for strings.HasPrefix(args, "--") {
		var option string
		option, args = cutWord(args)
		if err := healthOption(h, strings.TrimPrefix(option, "--")); err != nil {
			return err
		}
	}
	kind, command := cutWord(args)
	switch strings.ToUpper(kind) {
	case "NONE":
		if command != "" {
			return fmt.Errorf("HEALTHCHECK NONE takes no arguments")
		}
		h.Test = []string{"NONE"}
	case "CMD":
		if command == "" {
			return fmt.Errorf("missing command after HEALTHCHECK CMD")
		}
		if list, ok := jsonList(command); ok {
			if len(list) == 0 {
				return fmt.Errorf("missing command after HEALTHCHECK CMD")
			}
			h.Test = append([]string{"CMD"}, list...)
		} else {
			h.Test = []string{"CMD-SHELL", command}
		}
	default:
		return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", kind)
	}
	cfg.Healthcheck = h
	return nil
}

func healthOption(h *container.HealthConfig, option string) error {
	name, v, ok := strings.Cut(option, "=")
	if !ok {
		return fmt.Errorf("HEALTHCHECK option --%s needs a value", name)
	}
	durations := map[string]*time.Duration{
		"interval": &h.Interval, "timeout": &h.Timeout, "start-period": &h.StartPeriod, "start-interval": &h.StartInterval,
	}
	if d := durations[name]; d != nil {
		parsed, err := time.ParseDuration(v)
		if err != nil || (parsed != 0 && parsed < time.Millisecond) {
			return fmt.Errorf("HEALTHCHECK option --%s: %q is not a duration of 1ms or more", name, v)
		}
		*d = parsed
		return nil
	}
	if name != "retries" {
		return fmt.Errorf("unknown HEALTHCHECK option --%s", name)
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("HEALTHCHECK option --retries: %q is not a number of 0 or more", v)
	}
	h.Retries = int(n)
	return nil
}

// ToImage takes of a container's configuration what an image keeps.
func ToImage(cfg *container.Config) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd = cfg.User, cfg.Env, cfg.Entrypoint, cfg.Cmd
	out.Volumes, out.WorkingDir, out.Labels, out.StopSignal = cfg.Volumes, cfg.WorkingDir, cfg.Labels, cfg.StopSignal
	out.OnBuild, out.Shell = cfg.OnBuild, cfg.Shell
	if len(cfg.ExposedPorts) > 0 {
		out.ExposedPorts = map[string]struct{}{}
		for p := range cfg.ExposedPorts {
			out.ExposedPorts[p.String()] = struct{}{}
		}
	}
	if h := cfg.Healthcheck; h != nil {
		c := *h
		out.Healthcheck = &c
	}
	return out
}
