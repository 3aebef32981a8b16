// Package config reads how the daemon is to run: the flags of its command line
// and a file in JSON with dockerd's keys. A flag wins over the file.
package config

import (
	"net/netip"

	"github.com/moby/moby/api/types/container"
)

// File is where the configuration is looked for when no flag says otherwise.
// There it may be absent.
const File = "/etc/hoy/daemon.json"

// Config is the daemon's configuration. Each field's key in the file and flag
// are in the table of options.
type Config struct {
	// File that was read, or would be.
	File string
	// Validate asks to check the configuration and end.
	Validate bool
	// ShowVersion asks for the version only.
	ShowVersion bool

	DataRoot, ExecRoot, Pidfile string
	Hosts                       []string
	Group                       string
	LogLevel, LogFormat         string
	Debug                       bool
	// MetricsAddr is where Prometheus finds the metrics; empty is nowhere.
	MetricsAddr string

	TLS, TLSVerify              bool
	TLSCACert, TLSCert, TLSKey  string
	AllowInsecureTCP            bool
	InsecureRegistries, Mirrors []string

	DNS                   []netip.Addr
	DNSSearch, DNSOptions []string
	Bridge, FirewallTable string
	// BIP is the default bridge's own address and its subnet.
	BIP netip.Prefix
	MTU int
	// IP is the host address of published ports that name none.
	IP netip.Addr

	IPTables, IPForward, IPMasq bool

	StorageDriver       string
	LogDriver           string
	LogOpts             map[string]string
	DefaultUlimits      map[string]*container.Ulimit
	DefaultShmSize      Bytes
	DefaultCgroupnsMode string
	DefaultIpcMode      string
	CgroupParent        string
	ExecOpts            []string
	Labels              []string
	Init                bool
	NoNewPrivileges     bool
	SeccompProfile      string
	// UsernsRemap is whose subordinate ids the users of containers are; empty
	// leaves them the host's. UsernsRange has the ids of containers with a mapping
	// of their own.
	UsernsRemap, UsernsRange string
	ShutdownTimeout          int
	LiveRestore              bool
	DefaultRuntime           string
	Runtimes                 map[string]Runtime
	Experimental             bool
	// RuntimeBinary is the path of hoy-run; empty is beside the daemon's own binary, then in the path.
	RuntimeBinary string
	// Reserve is what is set aside for the work that frees space on a full disk;
	// negative is by the size of the disk.
	Reserve Bytes
}

// Runtime is an OCI runtime beside the built-in one.
type Runtime struct {
	Path string   `json:"path,omitempty"`
	Args []string `json:"runtimeArgs,omitempty"`
	// Type and Options are read to be refused by name.
	Type    string         `json:"runtimeType,omitempty"`
	Options map[string]any `json:"options,omitempty"`
}

// Default is the configuration with neither file nor flags.
func Default() *Config {
	return &Config{
		File: File, DataRoot: "/var/lib/hoy", ExecRoot: "/run/hoy", LogLevel: "info", LogFormat: "text",
		Bridge: "hoy0", FirewallTable: "hoy", IPTables: true, IPForward: true, IPMasq: true,
		LogDriver: "json-file", DefaultShmSize: 64 << 20, CgroupParent: "/hoy", ShutdownTimeout: 15, Reserve: -1,
		LiveRestore: true, DefaultRuntime: "hoy",
		TLSCACert: "/etc/hoy/ca.pem", TLSCert: "/etc/hoy/cert.pem", TLSKey: "/etc/hoy/key.pem",
	}
}

// DefaultHost is served where no host is named.
const DefaultHost = "unix:///run/hoy.sock"
