package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/moby/client"
)

// App is the context of one run of the command line, given to the constructor
// of each verb.
type App struct {
	In  *Input
	Out *Output
	Err *Output

	// Global holds the options given before the verb. They are set when a
	// verb runs, not when it is constructed.
	Global Options

	once   sync.Once
	client client.APIClient
	cerr   error

	settingsOnce sync.Once
	settings     Settings
}

// Options are the global flags.
type Options struct {
	ConfigDir string
	Debug     bool
	Host      string
	LogLevel  string
	TLS       bool
	TLSVerify bool
	TLSCACert string
	TLSCert   string
	TLSKey    string
}

// NewApp returns the context over the given streams.
func NewApp(in io.Reader, out, err io.Writer) *App {
	return &App{In: NewInput(in), Out: NewOutput(out), Err: NewOutput(err)}
}

// Client returns the API client, connected to on its first request. Every call
// returns the same one.
func (a *App) Client() (client.APIClient, error) {
	a.once.Do(func() { a.client, a.cerr = a.newClient() })
	return a.client, a.cerr
}

// ConfigDir returns the directory of config.json and of the TLS files:
// --config, HOY_CONFIG, DOCKER_CONFIG, ~/.docker. It is Docker's own, so that
// logins are shared.
func (a *App) ConfigDir() string {
	for _, dir := range []string{a.Global.ConfigDir, os.Getenv("HOY_CONFIG"), os.Getenv("DOCKER_CONFIG")} {
		if dir != "" {
			return dir
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return filepath.Join(home, ".docker")
}

// Settings is the part of config.json that changes how verbs behave. Its other
// part, credentials, belongs to package auth.
type Settings struct {
	HTTPHeaders   map[string]string `json:"HttpHeaders"`
	PsFormat      string            `json:"psFormat"`
	ImagesFormat  string            `json:"imagesFormat"`
	NetworksFmt   string            `json:"networksFormat"`
	VolumesFormat string            `json:"volumesFormat"`
	StatsFormat   string            `json:"statsFormat"`
	DetachKeys    string            `json:"detachKeys"`
}

// Settings reads config.json once. A missing file is empty settings; a broken
// one is told on the error stream and ignored.
func (a *App) Settings() Settings {
	a.settingsOnce.Do(func() {
		path := filepath.Join(a.ConfigDir(), "config.json")
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return
		case err == nil:
			err = json.Unmarshal(data, &a.settings)
		}
		if err != nil {
			fmt.Fprintf(a.Err, "WARNING: Error loading config file: %s: %v\n", path, err)
		}
	})
	return a.settings
}
