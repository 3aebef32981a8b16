// Package auth keeps the credentials of registries as Docker's command line
// does, in the same file, so that a login of either counts for both: config.json
// with its members auths, credsStore and credHelpers
// (https://docs.docker.com/reference/cli/docker/login/#credential-stores).
package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"hoy/internal/durable"
)

// maxFile bounds config.json; real ones have a few kilobytes.
const maxFile = 16 << 20

// Store is the credentials of one config directory.
type Store struct {
	// path of the file, links followed.
	path string
	// whole is every member of the file, also those that are not ours.
	whole   map[string]json.RawMessage
	auths   map[string]json.RawMessage
	store   string
	helpers map[string]string
}

// entry is a member of auths. Auth is base64 of user:password.
type entry struct {
	Auth          string `json:"auth,omitempty"`
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// Open reads config.json of the directory. No file is an empty store.
func Open(dir string) (*Store, error) {
	path := filepath.Join(dir, "config.json")
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	s := &Store{path: path, whole: map[string]json.RawMessage{}, auths: map[string]json.RawMessage{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read registry credentials: %s has %d bytes, more than %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(data, &s.whole); err != nil {
		return nil, s.broken("", err)
	}
	for name, into := range map[string]any{"auths": &s.auths, "credsStore": &s.store, "credHelpers": &s.helpers} {
		raw, ok := s.whole[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, s.broken(name, err)
		}
	}
	if s.auths == nil {
		s.auths = map[string]json.RawMessage{}
	}
	return s, nil
}

// broken never quotes the file's content, which holds secrets.
func (s *Store) broken(member string, err error) error {
	if member != "" {
		member = ", member " + member
	}
	return fmt.Errorf("read registry credentials: %s%s: %w: correct the file or move it away", s.path, member, err)
}

// Path is the file's.
func (s *Store) Path() string { return s.path }

// Helper is the suffix of the docker-credential-… program that keeps the
// credentials of server; empty where the file itself does.
func (s *Store) Helper(server string) string {
	if name, ok := s.helpers[server]; ok {
		return name
	}
	return s.store
}

// Get returns what is kept for server, a key as [ServerOf] and [Server] give it.
// No credentials are a zero AuthConfig and no error.
func (s *Store) Get(server string) (registry.AuthConfig, error) {
	if name := s.Helper(server); name != "" {
		got, err := ask(name, server)
		if err != nil || got != (registry.AuthConfig{}) {
			return got, err
		}
	}
	raw, ok := s.auths[server]
	if !ok {
		// Old files have addresses with scheme and path as keys.
		for other, candidate := range s.auths {
			if Server(other) == server {
				raw, ok = candidate, true
			}
		}
	}
	if !ok {
		return registry.AuthConfig{}, nil
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return registry.AuthConfig{}, s.broken("auths of "+server, err)
	}
	return e.decode(server)
}

func (e entry) decode(server string) (registry.AuthConfig, error) {
	got := registry.AuthConfig{
		Username: e.Username, Password: e.Password,
		IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
	}
	if e.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(e.Auth)
		if err != nil {
			return registry.AuthConfig{}, fmt.Errorf("credentials of %s: auth is not base64: log in again", server)
		}
		user, password, ok := strings.Cut(string(plain), ":")
		if !ok {
			return registry.AuthConfig{}, fmt.Errorf("credentials of %s: auth is not of the form user:password: log in again", server)
		}
		got.Username, got.Password = user, strings.Trim(password, "\x00")
	}
	if got != (registry.AuthConfig{}) {
		got.ServerAddress = server
	}
	return got, nil
}

// Save keeps the credentials of a.ServerAddress, with the helper that the file
// names for it or in the file.
func (s *Store) Save(a registry.AuthConfig) error {
	server := Server(a.ServerAddress)
	if name := s.Helper(server); name != "" {
		if err := keep(name, server, a); err != nil {
			return err
		}
		s.auths[server] = json.RawMessage("{}")
		return s.write()
	}
	e := entry{IdentityToken: a.IdentityToken}
	switch {
	case a.IdentityToken != "":
		e.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":"))
	case a.Username != "" || a.Password != "":
		e.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	s.auths[server] = raw
	return s.write()
}

// Erase forgets the credentials of server, wherever they are, and says whether
// there were any.
func (s *Store) Erase(server string) (bool, error) {
	found := false
	if name := s.Helper(server); name != "" {
		had, err := forget(name, server)
		if err != nil {
			return false, err
		}
		found = had
	}
	changed := false
	for other := range s.auths {
		if other == server || Server(other) == server {
			delete(s.auths, other)
			changed = true
		}
	}
	if !changed {
		return found, nil
	}
	return true, s.write()
}

// write replaces the file as a whole; nobody but its owner can read it.
func (s *Store) write() error {
	raw, err := json.Marshal(s.auths)
	if err != nil {
		return err
	}
	s.whole["auths"] = raw
	if len(s.auths) == 0 {
		delete(s.whole, "auths")
	}
	data, err := json.MarshalIndent(s.whole, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("keep registry credentials: %w", err)
	}
	if err := durable.WriteFile(s.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep registry credentials: %w", err)
	}
	return nil
}

// HeaderFor is [Header] with warnings on the error stream of the process.
func HeaderFor(configDir, imageRef string) (string, error) {
	return Header(configDir, imageRef, os.Stderr)
}

// Header gives the value of the X-Registry-Auth header for the registry that
// imageRef names: base64url of an AuthConfig in JSON, of an empty one where
// configDir has no credentials for it. Most images can be had without: a helper
// that fails, as one does that needs a desktop where there is none, is only a
// warning.
func Header(configDir, imageRef string, warnings io.Writer) (string, error) {
	server, err := ServerOf(imageRef)
	if err != nil {
		return "", err
	}
	s, err := Open(configDir)
	if err != nil {
		return "", err
	}
	a, err := s.Get(server)
	if err != nil {
		if s.Helper(server) == "" {
			return "", err
		}
		fmt.Fprintf(warnings, "WARNING: going on without credentials for %s: %v\n", server, err)
		a = registry.AuthConfig{}
	}
	return authconfig.Encode(a)
}
