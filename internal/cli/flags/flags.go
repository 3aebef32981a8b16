// Package flags turns the flags of run and create into what the API asks for:
// container.Config, HostConfig and NetworkingConfig. It checks what can be
// checked without the daemon, in Docker's words.
package flags

import (
	"time"

	"github.com/spf13/pflag"

	"hoy/internal/cli/flags/value"
)

// Container holds the values of all flags that run and create share.
type Container struct {
	// Image and Args are what follows the flags.
	Image string
	Args  []string

	attach                                         value.List
	stdin, tty                                     bool
	hostname, domainname, user, workdir            string
	entrypoint                                     string
	env, envFile, labels, labelFile                value.List
	stopSignal                                     string
	stopTimeout                                    int
	volumes, volumesFrom, tmpfs                    value.List
	mounts                                         Mounts
	volumeDriver                                   string
	publish, expose                                value.List
	publishAll                                     bool
	networks                                       Networks
	ip, ip6, mac                                   string
	aliases, links, linkLocal                      value.List
	dns, dnsOpt, dnsSearch, extraHosts             value.List
	restart, cidFile, runtime, isolation           string
	autoRemove, privileged, readOnly, init         bool
	capAdd, capDrop, securityOpt, groupAdd         value.List
	ipc, pid, uts, userns, cgroupns, cgroupParent  string
	sysctls, annotations                           value.Map
	storageOpt, logOpt                             value.List
	logDriver, systemd                             string
	shmSize                                        value.Bytes
	devices, deviceRules, gpus                     value.List
	health                                         health
	memory, memorySwap, memoryReservation, kernMem value.Bytes
	swappiness                                     int64
	cpus                                           value.CPUs
	cpuShares, cpuQuota, cpuPeriod, rtPeriod, rtUs int64
	cpuCount, cpuPercent                           int64
	cpusetCPUs, cpusetMems                         string
	pidsLimit                                      int64
	oomKillDisable                                 bool
	oomScoreAdj                                    int
	ulimits                                        value.Ulimits
	ioMaxBandwidth                                 value.Bytes
	ioMaxIOps                                      uint64
	blkioWeight                                    uint16
	blkioWeights                                   value.Weights
	readBps, writeBps, readIOps, writeIOps         value.Throttles
}

type health struct {
	cmd, http, tcp, grpc                   string
	interval, timeout, start, startBetween time.Duration
	retries                                int
	none                                   bool
}

// New defines the flags on fs.
func New(fs *pflag.FlagSet) *Container {
	c := &Container{}
	fs.SetInterspersed(false)
	c.processFlags(fs)
	c.storageFlags(fs)
	c.networkFlags(fs)
	c.hostFlags(fs)
	c.healthFlags(fs)
	c.resourceFlags(fs)
	c.deviceFlags(fs)
	return c
}

// TTY reports whether -t was given.
func (c *Container) TTY() bool { return c.tty }

// Stdin reports whether -i was given.
func (c *Container) Stdin() bool { return c.stdin }

// AutoRemove reports whether --rm was given.
func (c *Container) AutoRemove() bool { return c.autoRemove }

// CIDFile is the file that the container's id is written to.
func (c *Container) CIDFile() string { return c.cidFile }

// Attaches reports whether -a was given, and whether it names the stream.
func (c *Container) Attaches(stream string) (given, named bool) {
	for _, s := range c.attach.Values {
		if s == stream {
			return true, true
		}
	}
	return len(c.attach.Values) > 0, false
}

func (c *Container) processFlags(fs *pflag.FlagSet) {
	c.attach.Check, c.env.Check, c.labels.Check = value.AttachStream, value.Env, value.Label
	fs.VarP(&c.attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR")
	fs.BoolVarP(&c.stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	fs.BoolVarP(&c.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.VarP(&c.env, "env", "e", "Set environment variables")
	fs.Var(&c.envFile, "env-file", "Read in a file of environment variables")
	fs.StringVar(&c.entrypoint, "entrypoint", "", "Overwrite the default ENTRYPOINT of the image")
	fs.VarP(&c.labels, "label", "l", "Set meta data on a container")
	fs.Var(&c.labelFile, "label-file", "Read in a line delimited file of labels")
	fs.StringVarP(&c.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	fs.StringVarP(&c.workdir, "workdir", "w", "", "Working directory inside the container")
	fs.StringVarP(&c.hostname, "hostname", "h", "", "Container host name")
	fs.StringVar(&c.domainname, "domainname", "", "Container NIS domain name")
	fs.Var(&c.groupAdd, "group-add", "Add additional groups to join")
	fs.StringVar(&c.systemd, "systemd", "", "Prepare the container for systemd as its command: true where the command is one, always, false (default)")
	fs.StringVar(&c.stopSignal, "stop-signal", "", "Signal to stop the container")
	fs.IntVar(&c.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	fs.Var(&c.annotations, "annotation", "Add an annotation to the container (passed through to the OCI runtime)")
	fs.StringVar(&c.cidFile, "cidfile", "", "Write the container ID to the file")
	fs.BoolVar(&c.init, "init", false, "Run an init inside the container that forwards signals and reaps processes")
	// -h is the host name here, so that help has no short form.
	fs.Bool("help", false, "Print usage")
}

func (c *Container) storageFlags(fs *pflag.FlagSet) {
	fs.VarP(&c.volumes, "volume", "v", "Bind mount a volume")
	fs.Var(&c.mounts, "mount", "Attach a filesystem mount to the container")
	fs.Var(&c.tmpfs, "tmpfs", "Mount a tmpfs directory")
	fs.Var(&c.volumesFrom, "volumes-from", "Mount volumes from the specified container(s)")
	fs.StringVar(&c.volumeDriver, "volume-driver", "", "Optional volume driver for the container")
	fs.Var(&c.storageOpt, "storage-opt", "Storage driver options for the container")
	fs.BoolVar(&c.readOnly, "read-only", false, "Mount the container's root filesystem as read only")
	fs.Var(&c.shmSize, "shm-size", "Size of /dev/shm")
}

func (c *Container) networkFlags(fs *pflag.FlagSet) {
	c.dns.Check, c.dnsSearch.Check, c.extraHosts.Check = value.IP, value.DNSSearch, value.ExtraHost
	c.links.Check, c.linkLocal.Check = value.Link, value.IP
	fs.VarP(&c.publish, "publish", "p", "Publish a container's port(s) to the host")
	fs.BoolVarP(&c.publishAll, "publish-all", "P", false, "Publish all exposed ports to random ports")
	fs.Var(&c.expose, "expose", "Expose a port or a range of ports")
	fs.Var(&c.networks, "network", "Connect a container to a network")
	fs.Var(&c.networks, "net", "Connect a container to a network")
	fs.Var(&c.aliases, "network-alias", "Add network-scoped alias for the container")
	fs.Var(&c.aliases, "net-alias", "Add network-scoped alias for the container")
	fs.Lookup("net").Hidden, fs.Lookup("net-alias").Hidden = true, true
	fs.Var(&c.links, "link", "Add link to another container")
	fs.StringVar(&c.ip, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	fs.StringVar(&c.ip6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	fs.StringVar(&c.mac, "mac-address", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")
	fs.Var(&c.linkLocal, "link-local-ip", "Container IPv4/IPv6 link-local addresses")
	fs.Var(&c.dns, "dns", "Set custom DNS servers")
	fs.Var(&c.dnsOpt, "dns-option", "Set DNS options")
	fs.Var(&c.dnsOpt, "dns-opt", "Set DNS options")
	fs.Lookup("dns-opt").Hidden = true
	fs.Var(&c.dnsSearch, "dns-search", "Set custom DNS search domains")
	fs.Var(&c.extraHosts, "add-host", "Add a custom host-to-IP mapping (host:ip)")
}

func (c *Container) hostFlags(fs *pflag.FlagSet) {
	c.sysctls.Check = value.Sysctl
	fs.StringVar(&c.restart, "restart", "no", "Restart policy to apply when a container exits")
	fs.BoolVar(&c.autoRemove, "rm", false, "Automatically remove the container and its associated anonymous volumes when it exits")
	fs.BoolVar(&c.privileged, "privileged", false, "Give extended privileges to this container")
	fs.Var(&c.capAdd, "cap-add", "Add Linux capabilities")
	fs.Var(&c.capDrop, "cap-drop", "Drop Linux capabilities")
	fs.Var(&c.securityOpt, "security-opt", "Security Options")
	fs.Var(&c.sysctls, "sysctl", "Sysctl options")
	fs.StringVar(&c.ipc, "ipc", "", "IPC mode to use")
	fs.StringVar(&c.pid, "pid", "", "PID namespace to use")
	fs.StringVar(&c.uts, "uts", "", "UTS namespace to use")
	fs.StringVar(&c.userns, "userns", "", "User namespace to use")
	fs.StringVar(&c.cgroupns, "cgroupns", "", "Cgroup namespace to use (host|private)")
	fs.StringVar(&c.cgroupParent, "cgroup-parent", "", "Optional parent cgroup for the container")
	fs.StringVar(&c.runtime, "runtime", "", "Runtime to use for this container")
	fs.StringVar(&c.isolation, "isolation", "", "Container isolation technology")
	fs.StringVar(&c.logDriver, "log-driver", "", "Logging driver for the container")
	fs.Var(&c.logOpt, "log-opt", "Log driver options")
}

func (c *Container) healthFlags(fs *pflag.FlagSet) {
	h := &c.health
	fs.StringVar(&h.cmd, "health-cmd", "", "Command to run to check health")
	fs.StringVar(&h.http, "health-http", "", "URL that must answer, asked by the engine inside the container's network (http://:8080/ready)")
	fs.StringVar(&h.tcp, "health-tcp", "", "Port that must accept connections, tried by the engine inside the container's network ([IP:]PORT)")
	fs.StringVar(&h.grpc, "health-grpc", "", "Port with a gRPC health service, asked by the engine inside the container's network ([IP:]PORT[/SERVICE])")
	fs.DurationVar(&h.interval, "health-interval", 0, "Time between running the check (ms|s|m|h) (default 0s)")
	fs.IntVar(&h.retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	fs.DurationVar(&h.timeout, "health-timeout", 0, "Maximum time to allow one check to run (ms|s|m|h) (default 0s)")
	fs.DurationVar(&h.start, "health-start-period", 0, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)")
	fs.DurationVar(&h.startBetween, "health-start-interval", 0, "Time between running the check during the start period (ms|s|m|h) (default 0s)")
	fs.BoolVar(&h.none, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}

func (c *Container) resourceFlags(fs *pflag.FlagSet) {
	c.memorySwap.Unlimited = true
	fs.VarP(&c.memory, "memory", "m", "Memory limit")
	fs.Var(&c.memorySwap, "memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	fs.Var(&c.memoryReservation, "memory-reservation", "Memory soft limit")
	fs.Int64Var(&c.swappiness, "memory-swappiness", -1, "Tune container memory swappiness (0 to 100)")
	fs.Var(&c.kernMem, "kernel-memory", "Kernel memory limit")
	fs.Lookup("kernel-memory").Hidden = true
	fs.BoolVar(&c.oomKillDisable, "oom-kill-disable", false, "Disable OOM Killer")
	fs.IntVar(&c.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
	fs.Int64Var(&c.pidsLimit, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	fs.Var(&c.cpus, "cpus", "Number of CPUs")
	fs.Int64VarP(&c.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	fs.Int64Var(&c.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	fs.Int64Var(&c.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	fs.Int64Var(&c.rtPeriod, "cpu-rt-period", 0, "Limit CPU real-time period in microseconds")
	fs.Int64Var(&c.rtUs, "cpu-rt-runtime", 0, "Limit CPU real-time runtime in microseconds")
	fs.StringVar(&c.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	fs.StringVar(&c.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	fs.Var(&c.ulimits, "ulimit", "Ulimit options")
	// What follows means something on Windows only; scripts pass it all the same.
	fs.Int64Var(&c.cpuCount, "cpu-count", 0, "CPU count (Windows only)")
	fs.Int64Var(&c.cpuPercent, "cpu-percent", 0, "CPU percent (Windows only)")
	fs.Var(&c.ioMaxBandwidth, "io-maxbandwidth", "Maximum IO bandwidth limit for the system drive (Windows only)")
	fs.Uint64Var(&c.ioMaxIOps, "io-maxiops", 0, "Maximum IOps limit for the system drive (Windows only)")
	for _, name := range []string{"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"} {
		fs.Lookup(name).Hidden = true
	}
}

func (c *Container) deviceFlags(fs *pflag.FlagSet) {
	c.devices.Check, c.deviceRules.Check, c.gpus.Check = value.Device, value.CgroupRule, value.GPUs
	c.readBps.Sized, c.writeBps.Sized = true, true
	fs.Var(&c.devices, "device", "Add a host device to the container")
	fs.Var(&c.deviceRules, "device-cgroup-rule", "Add a rule to the cgroup allowed devices list")
	fs.Var(&c.gpus, "gpus", "GPU devices to add to the container ('all' to pass all GPUs)")
	fs.Uint16Var(&c.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)")
	fs.Var(&c.blkioWeights, "blkio-weight-device", "Block IO weight (relative device weight)")
	fs.Var(&c.readBps, "device-read-bps", "Limit read rate (bytes per second) from a device")
	fs.Var(&c.writeBps, "device-write-bps", "Limit write rate (bytes per second) to a device")
	fs.Var(&c.readIOps, "device-read-iops", "Limit read rate (IO per second) from a device")
	fs.Var(&c.writeIOps, "device-write-iops", "Limit write rate (IO per second) to a device")
}
