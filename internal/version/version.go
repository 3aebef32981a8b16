// Package version says which hoy this is and which versions of the Docker
// Engine API it speaks.
package version

// Set by the linker, see the Makefile.
var (
	// Version as git describes it; the next release where the build does not say.
	Version = "0.1.0-dev"
	// Commit is the source's short commit id.
	Commit = "unknown"
	// BuildTime in RFC 3339; empty where the build does not say, so that it can be repeated.
	BuildTime = ""
)

// The newest version of the API, that of github.com/moby/moby/api, and the
// oldest. The major number is 1 in all of them.
const (
	API         = "1.55"
	APIMinor    = 55
	MinAPI      = "1.24"
	MinAPIMinor = 24
)
