package flags

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"hoy/internal/cli/flags/value"
)

// Spec is what create sends.
type Spec struct {
	Config     *container.Config
	Host       *container.HostConfig
	Networking *network.NetworkingConfig
}

// Spec returns the request that the flags describe, after fs was parsed.
func (c *Container) Spec(fs *pflag.FlagSet) (*Spec, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	cfg, err := c.config(fs)
	if err != nil {
		return nil, err
	}
	host, err := c.hostConfig(fs)
	if err != nil {
		return nil, err
	}
	cfg.ExposedPorts, host.PortBindings, err = parsePorts(c.publish.Values, c.expose.Values)
	if err != nil {
		return nil, err
	}
	host.Binds, cfg.Volumes, err = splitVolumes(c.volumes.Values)
	if err != nil {
		return nil, err
	}
	endpoints, err := c.endpoints(&host.NetworkMode)
	if err != nil {
		return nil, err
	}
	return &Spec{Config: cfg, Host: host, Networking: &network.NetworkingConfig{EndpointsConfig: endpoints}}, nil
}

func (c *Container) check() error {
	switch {
	case c.swappiness != -1 && (c.swappiness < 0 || c.swappiness > 100):
		return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", c.swappiness)
	case !container.PidMode(c.pid).Valid():
		return errors.New("--pid: invalid PID mode")
	case !container.UTSMode(c.uts).Valid():
		return errors.New("--uts: invalid UTS mode")
	case !container.UsernsMode(c.userns).Valid() && c.userns != "private" && c.userns != "auto":
		return errors.New("--userns: invalid USER mode")
	case !container.CgroupnsMode(c.cgroupns).Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	case c.autoRemove && c.restart != "no" && c.restart != "":
		return errors.New("conflicting options: cannot specify both --restart and --rm")
	case c.isolation != "" && c.isolation != "default":
		return fmt.Errorf("invalid isolation %q: Linux knows only \"default\"", c.isolation)
	}
	return nil
}

func (c *Container) config(fs *pflag.FlagSet) (*container.Config, error) {
	env, err := value.ReadEnv(c.envFile.Values, c.env.Values)
	if err != nil {
		return nil, err
	}
	labels, err := value.ReadLabels(c.labelFile.Values, c.labels.Values)
	if err != nil {
		return nil, err
	}
	healthcheck, err := c.health.config()
	if err != nil {
		return nil, err
	}
	cfg := &container.Config{
		Hostname: c.hostname, Domainname: c.domainname, User: c.user,
		Tty: c.tty, OpenStdin: c.stdin, Env: env, Cmd: c.Args, Image: c.Image,
		WorkingDir: c.workdir, Labels: labels, Healthcheck: healthcheck, StopSignal: c.stopSignal,
	}
	_, cfg.AttachStdin = c.Attaches("stdin")
	_, cfg.AttachStdout = c.Attaches("stdout")
	_, cfg.AttachStderr = c.Attaches("stderr")
	if fs.Changed("entrypoint") {
		cfg.Entrypoint = []string{c.entrypoint}
	}
	if fs.Changed("stop-timeout") {
		cfg.StopTimeout = &c.stopTimeout
	}
	return cfg, nil
}

// Attach says which streams a run in the foreground attaches to: those of -a, or
// else output and error; the input always with -i.
func (s *Spec) Attach(c *Container, detach bool) {
	if detach {
		return
	}
	if given, _ := c.Attaches(""); !given {
		s.Config.AttachStdout, s.Config.AttachStderr = true, true
	}
	s.Config.AttachStdin = s.Config.AttachStdin || c.stdin
	s.Config.StdinOnce = c.stdin && s.Config.AttachStdin
}

func (h *health) config() (*container.HealthConfig, error) {
	native, err := h.native()
	if err != nil {
		return nil, err
	}
	given := h.cmd != "" || native != nil || h.interval != 0 || h.timeout != 0 || h.start != 0 || h.startBetween != 0 || h.retries != 0
	switch {
	case h.none && given:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case h.none:
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case !given:
		return nil, nil
	case h.interval < 0:
		return nil, errors.New("--health-interval cannot be negative")
	case h.timeout < 0:
		return nil, errors.New("--health-timeout cannot be negative")
	case h.retries < 0:
		return nil, errors.New("--health-retries cannot be negative")
	case h.start < 0:
		return nil, errors.New("--health-start-period cannot be negative")
	case h.startBetween < 0:
		return nil, errors.New("--health-start-interval cannot be negative")
	}
	cfg := &container.HealthConfig{
		Interval: h.interval, Timeout: h.timeout, StartPeriod: h.start, StartInterval: h.startBetween, Retries: h.retries,
	}
	cfg.Test = native
	if h.cmd != "" {
		cfg.Test = []string{"CMD-SHELL", h.cmd}
	}
	return cfg, nil
}

// native is the one probe that the engine makes itself; nil where none is asked for.
func (h *health) native() (test []string, err error) {
	var used []string
	for _, kind := range []struct{ flag, test, target string }{
		{"--health-cmd", "", h.cmd}, {"--health-http", "HTTP", h.http}, {"--health-tcp", "TCP", h.tcp}, {"--health-grpc", "GRPC", h.grpc},
	} {
		if kind.target == "" {
			continue
		}
		used = append(used, kind.flag)
		if kind.test != "" {
			test = []string{kind.test, kind.target}
		}
	}
	if len(used) > 1 {
		return nil, fmt.Errorf("%s and %s cannot be used together", used[0], used[1])
	}
	return test, nil
}

// ParseRestart parses name[:retries].
func ParseRestart(value string) (container.RestartPolicy, error) {
	var policy container.RestartPolicy
	if value == "" {
		return policy, nil
	}
	name, count, ok := strings.Cut(value, ":")
	if name == "" {
		return policy, errors.New("invalid restart policy format: no policy provided before colon")
	}
	if ok {
		n, err := strconv.Atoi(count)
		if err != nil {
			return policy, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		policy.MaximumRetryCount = n
	}
	policy.Name = container.RestartPolicyMode(name)
	return policy, nil
}

func (c *Container) hostConfig(fs *pflag.FlagSet) (*container.HostConfig, error) {
	restart, err := ParseRestart(c.restart)
	if err != nil {
		return nil, err
	}
	logOpts := pairs(c.logOpt.Values)
	if c.logDriver == "none" && len(logOpts) > 0 {
		return nil, fmt.Errorf("invalid logging opts for driver %s", c.logDriver)
	}
	storage, err := storageOptions(c.storageOpt.Values)
	if err != nil {
		return nil, err
	}
	security, masked, readOnly, err := securityOptions(c.securityOpt.Values)
	if err != nil {
		return nil, err
	}
	resources, err := c.resources(fs)
	if err != nil {
		return nil, err
	}
	var dns []netip.Addr
	for _, server := range c.dns.Values {
		dns = append(dns, netip.MustParseAddr(server)) // value.IP parsed it
	}
	host := &container.HostConfig{
		ContainerIDFile: c.cidFile,
		LogConfig:       container.LogConfig{Type: c.logDriver, Config: logOpts},
		RestartPolicy:   restart, AutoRemove: c.autoRemove,
		VolumeDriver: c.volumeDriver, VolumesFrom: c.volumesFrom.Values, Mounts: c.mounts, Tmpfs: tmpfs(c.tmpfs.Values),
		Annotations: c.annotate(),
		CapAdd:      c.capAdd.Values, CapDrop: c.capDrop.Values, CgroupnsMode: container.CgroupnsMode(c.cgroupns),
		DNS: dns, DNSOptions: c.dnsOpt.Values, DNSSearch: c.dnsSearch.Values, ExtraHosts: c.extraHosts.Values,
		GroupAdd: c.groupAdd.Values, Links: c.links.Values,
		IpcMode: container.IpcMode(c.ipc), PidMode: container.PidMode(c.pid), UTSMode: container.UTSMode(c.uts),
		UsernsMode: container.UsernsMode(c.userns), OomScoreAdj: c.oomScoreAdj,
		Privileged: c.privileged, PublishAllPorts: c.publishAll, ReadonlyRootfs: c.readOnly,
		SecurityOpt: security, MaskedPaths: masked, ReadonlyPaths: readOnly, StorageOpt: storage,
		ShmSize: c.shmSize.Value, Sysctls: c.sysctls.Values, Runtime: c.runtime,
		Isolation: container.Isolation(c.isolation), Resources: resources,
	}
	if fs.Changed("init") {
		host.Init = &c.init
	}
	return host, nil
}

func (c *Container) resources(fs *pflag.FlagSet) (container.Resources, error) {
	devices, requests := []container.DeviceMapping(nil), []container.DeviceRequest(nil)
	var cdi []string
	for _, given := range c.devices.Values {
		if value.IsCDI(given) {
			cdi = append(cdi, given)
			continue
		}
		dev, err := value.ParseDevice(given)
		if err != nil {
			return container.Resources{}, err
		}
		devices = append(devices, dev)
	}
	if len(cdi) > 0 {
		requests = append(requests, container.DeviceRequest{Driver: "cdi", DeviceIDs: cdi})
	}
	r := container.Resources{
		CgroupParent: c.cgroupParent, Memory: c.memory.Value, MemorySwap: c.memorySwap.Value,
		MemoryReservation: c.memoryReservation.Value, NanoCPUs: int64(c.cpus),
		CPUShares: c.cpuShares, CPUPeriod: c.cpuPeriod, CPUQuota: c.cpuQuota,
		CPURealtimePeriod: c.rtPeriod, CPURealtimeRuntime: c.rtUs,
		CpusetCpus: c.cpusetCPUs, CpusetMems: c.cpusetMems,
		CPUCount: c.cpuCount, CPUPercent: c.cpuPercent, IOMaximumIOps: c.ioMaxIOps, IOMaximumBandwidth: uint64(c.ioMaxBandwidth.Value),
		BlkioWeight: c.blkioWeight, BlkioWeightDevice: c.blkioWeights,
		BlkioDeviceReadBps: c.readBps.Values, BlkioDeviceWriteBps: c.writeBps.Values,
		BlkioDeviceReadIOps: c.readIOps.Values, BlkioDeviceWriteIOps: c.writeIOps.Values,
		Devices: devices, DeviceCgroupRules: c.deviceRules.Values, DeviceRequests: requests,
		Ulimits: c.ulimits.Sorted(),
	}
	if fs.Changed("memory-swappiness") {
		r.MemorySwappiness = &c.swappiness
	}
	if fs.Changed("oom-kill-disable") {
		r.OomKillDisable = &c.oomKillDisable
	}
	if fs.Changed("pids-limit") {
		r.PidsLimit = &c.pidsLimit
	}
	return r, nil
}

func pairs(values []string) map[string]string {
	m := make(map[string]string, len(values))
	value.AddPairs(m, values)
	return m
}

func storageOptions(values []string) (map[string]string, error) {
	for _, value := range values {
		if !strings.Contains(value, "=") {
			return nil, fmt.Errorf("invalid storage option")
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	return pairs(values), nil
}

// tmpfs splits path[:options].
func tmpfs(values []string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	mounts := make(map[string]string, len(values))
	for _, value := range values {
		path, options, _ := strings.Cut(value, ":")
		mounts[path] = options
	}
	return mounts
}

// systemdAnnotation is how the engine is asked, by any client.
const systemdAnnotation = "hoy.systemd"

// annotate is the annotations with what --systemd says.
func (c *Container) annotate() map[string]string {
	if c.systemd == "" {
		return c.annotations.Values
	}
	all := maps.Clone(c.annotations.Values)
	if all == nil {
		all = map[string]string{}
	}
	all[systemdAnnotation] = c.systemd
	return all
}
