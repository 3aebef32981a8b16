package auth

import (
	"fmt"
	"os/exec"
	"regexp"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/moby/moby/api/types/registry"
)

// tokenUser in the place of a user's name says that the secret is an identity token.
const tokenUser = "<token>"

// program gives the calls of docker-credential-name, a program of the search
// path that speaks the credential helper protocol
// (https://github.com/docker/docker-credential-helpers#development). It is
// executed directly. Its name comes from the file and may not lead elsewhere.
func program(name string) (client.ProgramFunc, error) {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString(name) {
		return nil, fmt.Errorf("credential helper %q: not a valid name: correct credsStore or credHelpers in config.json", name)
	}
	file := "docker-credential-" + name
	if _, err := exec.LookPath(file); err != nil {
		return nil, fmt.Errorf("credential helper %q is asked for by config.json, but its program cannot be executed: %w", name, err)
	}
	return client.NewShellProgramFunc(file), nil
}

func ask(name, server string) (registry.AuthConfig, error) {
	run, err := program(name)
	if err != nil {
		return registry.AuthConfig{}, err
	}
	got, err := client.Get(run, server)
	if credentials.IsErrCredentialsNotFound(err) {
		return registry.AuthConfig{}, nil
	}
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("credential helper %q: %w", name, err)
	}
	a := registry.AuthConfig{ServerAddress: server}
	if got.Username == tokenUser {
		a.IdentityToken = got.Secret
	} else {
		a.Username, a.Password = got.Username, got.Secret
	}
	return a, nil
}

func keep(name, server string, a registry.AuthConfig) error {
	run, err := program(name)
	if err != nil {
		return err
	}
	c := &credentials.Credentials{ServerURL: server, Username: a.Username, Secret: a.Password}
	if a.IdentityToken != "" {
		c.Username, c.Secret = tokenUser, a.IdentityToken
	}
	if err := client.Store(run, c); err != nil {
		return fmt.Errorf("credential helper %q: %w", name, err)
	}
	return nil
}

// forget says whether the helper had credentials.
func forget(name, server string) (bool, error) {
	had, err := ask(name, server)
	if err != nil || had == (registry.AuthConfig{}) {
		return false, err
	}
	run, err := program(name)
	if err != nil {
		return false, err
	}
	if err := client.Erase(run, server); err != nil {
		return false, fmt.Errorf("credential helper %q: %w", name, err)
	}
	return true, nil
}
