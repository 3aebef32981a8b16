package system

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
	"hoy/internal/version"
)

// versions is what templates of version see.
type versions struct {
	Client clientVersion
	Server *system.VersionResponse
}

type clientVersion struct {
	Platform          *system.PlatformInfo `json:",omitempty"`
	Version           string               `json:",omitempty"`
	APIVersion        string               `json:"ApiVersion,omitempty"`
	DefaultAPIVersion string               `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string               `json:",omitempty"`
	GoVersion         string               `json:",omitempty"`
	Os                string               `json:",omitempty"`
	Arch              string               `json:",omitempty"`
	BuildTime         string               `json:",omitempty"`
	Context           string               `json:",omitempty"`
}

func newVersion(app *cli.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the version information of client and daemon",
		Example: `  hoy version
  hoy version --format "{{.Server.Version}}"`,
		Args:              cli.NoArgs,
		ValidArgsFunction: complete.None,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runVersion(cmd, app, layout) },
	}
	listflag.Format(cmd.Flags(), &layout, "f", false)
	return cmd
}

// runVersion shows the client's part also where no daemon answers, and then says so.
func runVersion(cmd *cobra.Command, app *cli.App, layout string) error {
	v := versions{Client: clientVersion{
		Version: version.Version, APIVersion: client.MaxAPIVersion, DefaultAPIVersion: client.MaxAPIVersion,
		GitCommit: version.Commit, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH,
		BuildTime: reformat(version.BuildTime), Context: "default",
	}}
	api, err := app.Client()
	if err == nil {
		var got client.ServerVersionResult
		if got, err = api.ServerVersion(cmd.Context(), client.ServerVersionOptions{}); err == nil {
			v.Server = serverVersion(got)
			v.Client.APIVersion = api.ClientVersion()
		}
	}
	var shown error
	switch layout {
	case "":
		shown = writeVersions(app.Out, v)
	case "json":
		shown = format.Execute(app.Out, "{{json .}}", v)
	default:
		shown = format.Execute(app.Out, layout, v)
	}
	if err != nil {
		return err
	}
	return shown
}

// serverVersion puts back the members that the client took from the answer; the
// component that is the engine has them too.
func serverVersion(got client.ServerVersionResult) *system.VersionResponse {
	v := &system.VersionResponse{
		Platform: system.PlatformInfo{Name: got.Platform.Name}, Version: got.Version,
		APIVersion: got.APIVersion, MinAPIVersion: got.MinAPIVersion, Os: got.Os, Arch: got.Arch,
		Components: got.Components, Experimental: got.Experimental, //nolint:staticcheck // part of the output until the API drops it
	}
	engine := func(c system.ComponentVersion) bool { return c.Name == "Engine" }
	i := slices.IndexFunc(v.Components, engine)
	if i < 0 {
		v.Components = append([]system.ComponentVersion{{Name: "Engine", Version: v.Version, Details: map[string]string{
			"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Os": v.Os, "Arch": v.Arch,
			"Experimental": fmt.Sprint(v.Experimental),
		}}}, v.Components...)
		i = 0
	}
	details := v.Components[i].Details
	v.GitCommit, v.GoVersion, v.KernelVersion = details["GitCommit"], details["GoVersion"], details["KernelVersion"]
	v.BuildTime = details["BuildTime"]
	if details != nil {
		v.Components[i].Details["BuildTime"] = reformat(v.BuildTime)
	}
	return v
}

func reformat(when string) string {
	t, err := time.Parse(time.RFC3339Nano, when)
	if err != nil {
		return when
	}
	return t.Format(time.ANSIC)
}

// labelWidth is the column of the values.
const labelWidth = 20

func writeVersions(w io.Writer, v versions) error {
	out := tabwriter.NewWriter(w, labelWidth, 1, 1, ' ', 0)
	c := v.Client
	api := c.APIVersion
	if api != c.DefaultAPIVersion {
		api += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	fmt.Fprintf(out, "Client:\n Version:\t%s\n API version:\t%s\n Go version:\t%s\n Git commit:\t%s\n Built:\t%s\n OS/Arch:\t%s/%s\n Context:\t%s\n",
		c.Version, api, c.GoVersion, c.GitCommit, c.BuildTime, c.Os, c.Arch, c.Context)
	if v.Server != nil {
		fmt.Fprint(out, "\nServer:")
		if v.Server.Platform.Name != "" {
			fmt.Fprint(out, " "+v.Server.Platform.Name)
		}
		fmt.Fprintln(out)
		for _, component := range v.Server.Components {
			writeComponent(out, component)
		}
	}
	return out.Flush()
}

func writeComponent(out io.Writer, c system.ComponentVersion) {
	fmt.Fprintf(out, " %s:\n  Version:\t%s\n", c.Name, c.Version)
	d := c.Details
	if c.Name != "Engine" {
		for _, key := range slices.Sorted(maps.Keys(d)) {
			fmt.Fprintf(out, "  %s:\t%s\n", key, d[key])
		}
		return
	}
	fmt.Fprintf(out, "  API version:\t%s (minimum version %s)\n  Go version:\t%s\n  Git commit:\t%s\n  Built:\t%s\n  OS/Arch:\t%s/%s\n  Experimental:\t%s\n",
		d["ApiVersion"], d["MinAPIVersion"], d["GoVersion"], d["GitCommit"], d["BuildTime"], d["Os"], d["Arch"], d["Experimental"])
}
