package auth

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// DefaultServer is the key under which the credentials of Docker Hub are kept.
const DefaultServer = "https://index.docker.io/v1/"

// hub is what image references call the same registry.
const hub = "docker.io"

// ServerOf gives the key of the registry that an image reference names:
// "registry.example:5000" of "registry.example:5000/a/b:tag", [DefaultServer]
// where it names none.
func ServerOf(imageRef string) (string, error) {
	named, err := reference.ParseNormalizedNamed(imageRef)
	if err != nil {
		return "", fmt.Errorf("invalid reference format: %q: %w", imageRef, err)
	}
	return key(reference.Domain(named)), nil
}

// Server gives the key for what a person calls a registry, with or without
// scheme and path; empty means [DefaultServer].
func Server(address string) string {
	if address == "" || address == DefaultServer {
		return DefaultServer
	}
	return key(hostOf(address))
}

func key(host string) string {
	if host == hub || host == "index."+hub {
		return DefaultServer
	}
	return host
}

// hostOf takes scheme and path off.
func hostOf(address string) string {
	for _, scheme := range []string{"https://", "http://"} {
		address = strings.TrimPrefix(address, scheme)
	}
	host, _, _ := strings.Cut(address, "/")
	return host
}
