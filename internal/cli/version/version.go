// Package version holds what a build says about itself. The linker sets the
// variables: -X hoy/internal/cli/version.Version=v0.1.0.
package version

// Version, Commit and Built describe the build.
var (
	Version = "0.1.0-dev"
	Commit  = "unknown"
	Built   = "unknown"
)
