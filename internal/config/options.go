package config

// option is one setting: its key in the file, its flag, and where it is kept.
type option struct {
	// key in the file; empty where only a flag makes sense.
	key string
	// flag is the flag's name; empty means the key.
	flag, short, usage string
	at                 func(c *Config) any
	// reload says that SIGHUP takes a new value over.
	reload bool
}

func (o option) flagName() string {
	if o.flag != "" {
		return o.flag
	}
	return o.key
}

// options is every setting there is. Keys are dockerd's where dockerd has the setting.
var options = []option{
	{flag: "config-file", usage: "Daemon configuration file", at: func(c *Config) any { return &c.File }},
	{flag: "validate", usage: "Validate daemon configuration and exit", at: func(c *Config) any { return &c.Validate }},
	{flag: "version", short: "v", usage: "Print version information and quit", at: func(c *Config) any { return &c.ShowVersion }},

	{key: "data-root", usage: "Root directory of persistent state", at: func(c *Config) any { return &c.DataRoot }},
	{key: "exec-root", usage: "Root directory for execution state", at: func(c *Config) any { return &c.ExecRoot }},
	{key: "pidfile", short: "p", usage: "Path of the daemon's PID file (default hoyd.pid in exec-root)", at: func(c *Config) any { return &c.Pidfile }},
	{key: "hosts", flag: "host", short: "H", usage: "Daemon socket(s) to serve: unix://PATH, tcp://HOST:PORT, fd:// (default unix:///run/hoy.sock)", at: func(c *Config) any { return &c.Hosts }},
	{key: "group", short: "G", usage: "Group of the unix socket (default docker where that group exists, else root)", at: func(c *Config) any { return &c.Group }},
	{key: "log-level", short: "l", usage: "Logging level: debug, info, warn, error", at: func(c *Config) any { return &c.LogLevel }, reload: true},
	{key: "log-format", usage: "Format of the daemon's own log: text or json", at: func(c *Config) any { return &c.LogFormat }},
	{key: "debug", short: "D", usage: "Enable debug mode", at: func(c *Config) any { return &c.Debug }, reload: true},
	{key: "metrics-addr", usage: "HOST:PORT to serve Prometheus metrics on, at /metrics", at: func(c *Config) any { return &c.MetricsAddr }},

	{key: "tls", usage: "Use TLS on TCP; implied by --tlsverify", at: func(c *Config) any { return &c.TLS }},
	{key: "tlsverify", usage: "Use TLS on TCP and serve only clients with a certificate of the authority", at: func(c *Config) any { return &c.TLSVerify }},
	{key: "tlscacert", usage: "Trust client certificates signed only by this authority", at: func(c *Config) any { return &c.TLSCACert }},
	{key: "tlscert", usage: "Path of the TLS certificate", at: func(c *Config) any { return &c.TLSCert }},
	{key: "tlskey", usage: "Path of the TLS key", at: func(c *Config) any { return &c.TLSKey }},
	{key: "allow-insecure-tcp", usage: "Serve plain TCP on addresses that others can reach: whoever does is root here", at: func(c *Config) any { return &c.AllowInsecureTCP }},

	{key: "insecure-registries", flag: "insecure-registry", usage: "Registry host or CIDR to be spoken to without TLS verification", at: func(c *Config) any { return &c.InsecureRegistries }, reload: true},
	{key: "registry-mirrors", flag: "registry-mirror", usage: "Address of a mirror that is asked before Docker Hub", at: func(c *Config) any { return &c.Mirrors }, reload: true},

	{key: "dns", usage: "DNS server of containers", at: func(c *Config) any { return &c.DNS }},
	{key: "dns-search", usage: "DNS search domain of containers", at: func(c *Config) any { return &c.DNSSearch }},
	{key: "dns-opts", flag: "dns-opt", usage: "DNS option of containers", at: func(c *Config) any { return &c.DNSOptions }},
	{key: "bridge", short: "b", usage: "Name of the default bridge; none disables it", at: func(c *Config) any { return &c.Bridge }},
	{key: "firewall-table", usage: "Name of the nftables table", at: func(c *Config) any { return &c.FirewallTable }},
	{key: "bip", usage: "Address and subnet of the default bridge, in CIDR form", at: func(c *Config) any { return &c.BIP }},
	{key: "mtu", usage: "MTU of the default bridge (default that of the default route)", at: func(c *Config) any { return &c.MTU }},
	{key: "ip", usage: "Host address of published ports that name none (default 0.0.0.0)", at: func(c *Config) any { return &c.IP }},
	{key: "iptables", usage: "Write firewall rules; cannot be disabled yet", at: func(c *Config) any { return &c.IPTables }},
	{key: "ip-forward", usage: "Enable IP forwarding; cannot be disabled yet", at: func(c *Config) any { return &c.IPForward }},
	{key: "ip-masq", usage: "Masquerade what leaves the bridge; cannot be disabled yet", at: func(c *Config) any { return &c.IPMasq }},

	{key: "storage-driver", short: "s", usage: "Storage driver: overlayfs (overlay2) or native (vfs); the best that works by default", at: func(c *Config) any { return &c.StorageDriver }},
	{key: "log-driver", usage: "Default log driver of containers: json-file, local, syslog, journald or none", at: func(c *Config) any { return &c.LogDriver }},
	{key: "log-opts", flag: "log-opt", usage: "Default log driver option of containers, KEY=VALUE", at: func(c *Config) any { return &c.LogOpts }},
	{key: "default-ulimits", flag: "default-ulimit", usage: "Default ulimit of containers, NAME=SOFT[:HARD]", at: func(c *Config) any { return &c.DefaultUlimits }},
	{key: "default-shm-size", usage: "Default size of /dev/shm of containers", at: func(c *Config) any { return &c.DefaultShmSize }},
	{key: "default-cgroupns-mode", usage: "Default cgroup namespace of containers: host or private", at: func(c *Config) any { return &c.DefaultCgroupnsMode }},
	{key: "default-ipc-mode", usage: "Default IPC mode of containers: private or shareable", at: func(c *Config) any { return &c.DefaultIpcMode }},
	{key: "cgroup-parent", usage: "Parent cgroup of all containers", at: func(c *Config) any { return &c.CgroupParent }},
	{key: "exec-opts", flag: "exec-opt", usage: "Runtime option: native.cgroupdriver=cgroupfs or systemd", at: func(c *Config) any { return &c.ExecOpts }},
	{key: "labels", flag: "label", usage: "KEY=VALUE label of the daemon", at: func(c *Config) any { return &c.Labels }, reload: true},
	{key: "init", usage: "Run an init in containers that forwards signals and reaps processes", at: func(c *Config) any { return &c.Init }},
	{key: "no-new-privileges", usage: "Set no-new-privileges for containers by default", at: func(c *Config) any { return &c.NoNewPrivileges }},
	{key: "userns-remap", usage: "User namespace for containers: default, or USER[:GROUP] with lines in /etc/subuid and /etc/subgid", at: func(c *Config) any { return &c.UsernsRemap }},
	{key: "userns-range", usage: "Host ids, FIRST:COUNT, of containers with --userns=private (default 1879048192:268369920)", at: func(c *Config) any { return &c.UsernsRange }},
	{key: "seccomp-profile", usage: "Path of the default seccomp profile, builtin or unconfined", at: func(c *Config) any { return &c.SeccompProfile }},
	{key: "shutdown-timeout", usage: "Seconds that requests have to end when the daemon stops", at: func(c *Config) any { return &c.ShutdownTimeout }, reload: true},
	{key: "live-restore", usage: "Containers outlive the daemon; always so here", at: func(c *Config) any { return &c.LiveRestore }},
	{key: "default-runtime", usage: "Default OCI runtime: hoy, the built-in one, or the name of another", at: func(c *Config) any { return &c.DefaultRuntime }, reload: true},
	{key: "runtimes", flag: "add-runtime", usage: "OCI runtime beside the built-in one, NAME=PATH", at: func(c *Config) any { return &c.Runtimes }, reload: true},
	{key: "experimental", usage: "Accepted; there are no experimental features", at: func(c *Config) any { return &c.Experimental }},
	{key: "reserve", usage: "Space kept for removals on a full disk, 0 for none (default 16 to 64 MiB, by the size of the disk)", at: func(c *Config) any { return &c.Reserve }},
	{key: "runtime-binary", usage: "Path of hoy-run (default beside hoyd, then in PATH)", at: func(c *Config) any { return &c.RuntimeBinary }},
}
