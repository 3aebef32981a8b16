package images

import (
	"fmt"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ParsePlatform reads os[/arch[/variant]] in the spellings that the OCI image
// specification and uname use; a part that is missing is this machine's. An
// architecture alone means linux.
func ParsePlatform(text string) (ocispec.Platform, error) {
	parts := strings.Split(strings.ToLower(text), "/")
	for _, part := range parts {
		if part == "" || len(parts) > 3 || strings.ContainsFunc(part, invalidPlatformRune) {
			return ocispec.Platform{}, fmt.Errorf("%q is an invalid OS or architecture: must be os[/arch[/variant]], as in linux/amd64", text)
		}
	}
	p := ocispec.Platform{OS: parts[0], Architecture: runtime.GOARCH}
	switch {
	case len(parts) > 1:
		p.Architecture = parts[1]
	case !knownOS(parts[0]):
		p = ocispec.Platform{OS: "linux", Architecture: parts[0]}
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	normalizeArch(&p)
	return p, nil
}

func invalidPlatformRune(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("_-.", r))
}

func knownOS(name string) bool {
	switch name {
	case "linux", "windows", "darwin", "macos", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "aix", "android", "plan9", "js", "wasi":
		return true
	}
	return false
}

func normalizeArch(p *ocispec.Platform) {
	switch p.Architecture {
	case "i386", "i686":
		p.Architecture = "386"
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64", "arm64":
		p.Architecture = "arm64"
		if p.Variant == "8" {
			p.Variant = "v8"
		}
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "arm":
		switch p.Variant {
		case "", "7":
			p.Variant = "v7"
		case "5", "6", "8":
			p.Variant = "v" + p.Variant
		}
	}
	if p.Architecture == "amd64" && p.Variant == "v1" {
		p.Variant = ""
	}
}

// optionalPlatform gives nil for an empty text.
func optionalPlatform(text string) (*ocispec.Platform, error) {
	if text == "" {
		return nil, nil
	}
	p, err := ParsePlatform(text)
	if err != nil {
		return nil, fmt.Errorf("invalid platform: %w", err)
	}
	return &p, nil
}
