// Package files has the verbs that move files in and out of containers: cp,
// export and commit.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
)

// copying is one call of `cp`.
type copying struct {
	app        *cli.App
	api        client.APIClient
	owners     bool
	followLink bool
	quiet      bool
}

// NewCopy returns `cp`.
func NewCopy(app *cli.App) *cobra.Command {
	c := &copying{app: app}
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\thoy cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Short: "Copy files/folders between a container and the local filesystem",
		Long: `Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin and extract it to a
directory destination in a container. Use '-' as the destination to stream a tar
archive of a container source to stdout. A source that ends with /. means the
content of the directory.`,
		Example: `  hoy cp web:/etc/nginx/nginx.conf .
  hoy cp site/. web:/usr/share/nginx/html
  hoy cp web:/var/log - | tar tv`,
		Args: cli.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0], args[1]) },
	}
	containers := complete.Containers(app, 0, nil)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if strings.ContainsAny(typed, ":/.") || len(args) > 1 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names, _ := containers(cmd, args, typed)
		for i := range names {
			names[i] += ":"
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
	fs := cmd.Flags()
	fs.BoolVarP(&c.owners, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	fs.BoolVarP(&c.followLink, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	fs.BoolVarP(&c.quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return cmd
}

func (c *copying) run(ctx context.Context, source, dest string) error {
	if source == "" {
		return errors.New("source can not be empty")
	}
	if dest == "" {
		return errors.New("destination can not be empty")
	}
	from, src := split(source)
	to, dst := split(dest)
	switch {
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from == "" && to == "":
		return errors.New("must specify at least one container source")
	}
	c.quiet = c.quiet || !c.app.Err.IsTerminal()
	var err error
	if c.api, err = c.app.Client(); err != nil {
		return err
	}
	if from != "" {
		return c.fromContainer(ctx, from, src, dst)
	}
	return c.toContainer(ctx, src, to, dst)
}

// split divides CONTAINER:PATH. What is absolute or begins with a dot is a local
// path, also with a colon in it.
func split(arg string) (name, file string) {
	if filepath.IsAbs(arg) {
		return "", arg
	}
	name, file, ok := strings.Cut(arg, ":")
	if !ok || strings.HasPrefix(name, ".") {
		return "", arg
	}
	return name, file
}

// contentsOnly says that a path means what is in a directory: it ends with "/."
// or is ".".
func contentsOnly(p string) bool { return p == "." || strings.HasSuffix(p, "/.") }

// asDirectory says that a path insists on a directory.
func asDirectory(p string) bool { return strings.HasSuffix(p, "/") || contentsOnly(p) }

func (c *copying) fromContainer(ctx context.Context, name, src, dst string) error {
	base := path.Base(src)
	if c.followLink {
		if stat, err := c.api.ContainerStatPath(ctx, name, client.ContainerStatPathOptions{Path: src}); err == nil && stat.Stat.Mode&fs.ModeSymlink != 0 {
			src = linkTarget(src, stat.Stat.LinkTarget)
		}
	}
	res, err := c.api.CopyFromContainer(ctx, name, client.CopyFromContainerOptions{SourcePath: src})
	if err != nil {
		return err
	}
	defer res.Content.Close()
	if dst == "-" {
		_, err := io.Copy(c.app.Out, res.Content)
		return err
	}
	if dst, err = absolute(dst); err != nil {
		return err
	}
	target, err := localTarget(dst, base, res.Stat.Mode.IsDir(), contentsOnly(src))
	if err != nil {
		return err
	}
	meter := c.meter("Copying from container", res.Content)
	x := extraction{target: target, owners: c.owners, warn: func(text string) { fmt.Fprintln(c.app.Err, "WARNING:", text) }}
	if err := x.extract(meter); err != nil {
		return err
	}
	// The end of the archive is read too, so that the daemon can finish.
	if _, err := io.Copy(io.Discard, meter); err != nil {
		return err
	}
	meter.done(dst)
	return nil
}

// localTarget returns where the root of the source comes to lie, by cp's rules:
// inside an existing directory, in place of a file, or under a new name.
func localTarget(dst, base string, sourceIsDir, contents bool) (string, error) {
	info, err := os.Stat(dst)
	switch {
	case err == nil && info.IsDir():
		if contents || base == "/" {
			return filepath.Clean(dst), nil
		}
		return filepath.Join(dst, base), nil
	case err == nil && sourceIsDir:
		return "", fmt.Errorf("cannot copy directory to %s: it is a file", dst)
	case err == nil && asDirectory(dst):
		return "", fmt.Errorf("not a directory: %s", dst)
	case err == nil:
		return dst, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	case asDirectory(dst) && !sourceIsDir:
		return "", fmt.Errorf("no such directory: %s", dst)
	}
	dst = filepath.Clean(dst)
	if _, err := os.Stat(filepath.Dir(dst)); err != nil {
		return "", fmt.Errorf("invalid output path: directory %q does not exist", filepath.Dir(dst))
	}
	return dst, nil
}

func linkTarget(link, target string) string {
	if path.IsAbs(target) {
		return target
	}
	return path.Join(path.Dir(link), target)
}

// absolute keeps a trailing slash or dot, which say something.
func absolute(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	switch {
	case contentsOnly(p) && abs != "/":
		return abs + "/.", nil
	case strings.HasSuffix(p, "/") && abs != "/":
		return abs + "/", nil
	}
	return abs, nil
}

func (c *copying) toContainer(ctx context.Context, src, name, dst string) error {
	dst = containerPath(dst)
	stat, err := c.api.ContainerStatPath(ctx, name, client.ContainerStatPathOptions{Path: dst})
	if err == nil && stat.Stat.Mode&fs.ModeSymlink != 0 {
		target := linkTarget(dst, stat.Stat.LinkTarget)
		if stat, err = c.api.ContainerStatPath(ctx, name, client.ContainerStatPathOptions{Path: target}); err == nil {
			dst = target
		}
	}
	exists, isDir := err == nil, err == nil && stat.Stat.Mode.IsDir()
	opt := client.CopyToContainerOptions{DestinationPath: dst, CopyUIDGID: c.owners}
	if src == "-" {
		if exists && !isDir {
			return fmt.Errorf("destination \"%s:%s\" must be a directory", name, dst)
		}
		opt.Content = c.app.In
		_, err := c.api.CopyToContainer(ctx, name, opt)
		return err
	}
	tree, err := c.localTree(src)
	if err != nil {
		return err
	}
	if opt.DestinationPath, err = tree.placeIn(dst, exists, isDir); err != nil {
		return err
	}
	archive := tree.archive()
	defer archive.Close()
	meter := c.meter("Copying to container", archive)
	opt.Content = meter
	if _, err := c.api.CopyToContainer(ctx, name, opt); err != nil {
		return err
	}
	meter.done(name + ":" + dst)
	return nil
}

// containerPath makes a path in a container absolute; the end keeps its meaning.
func containerPath(p string) string {
	clean := path.Join("/", p)
	switch {
	case clean == "/":
	case contentsOnly(p):
		return clean + "/."
	case strings.HasSuffix(p, "/"):
		return clean + "/"
	}
	return clean
}

func (c *copying) localTree(src string) (*localTree, error) {
	given, err := absolute(src)
	if err != nil {
		return nil, err
	}
	t := &localTree{path: filepath.Clean(given), name: filepath.Base(given), contents: contentsOnly(given)}
	if c.followLink || asDirectory(given) {
		if t.path, err = filepath.EvalSymlinks(t.path); err != nil {
			return nil, err
		}
	}
	info, err := os.Lstat(t.path)
	if err != nil {
		return nil, err
	}
	t.isDir = info.IsDir()
	if asDirectory(given) && !t.isDir {
		return nil, fmt.Errorf("not a directory: %s", src)
	}
	if t.name == "." || t.contents {
		t.name = filepath.Base(t.path)
	}
	return t, nil
}

// meter counts what is copied and shows it on a terminal.
type meter struct {
	io.Reader
	c     *copying
	label string
	bytes int64
	shown int64
}

func (c *copying) meter(label string, r io.Reader) *meter {
	return &meter{Reader: r, c: c, label: label}
}

const meterStep = 1 << 20

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.bytes += int64(n)
	if !m.c.quiet && m.bytes-m.shown >= meterStep {
		m.shown = m.bytes
		fmt.Fprintf(m.c.app.Err, "\r\x1b[K%s - %s", m.label, units.HumanSize(float64(m.bytes)))
	}
	return n, err
}

func (m *meter) done(dst string) {
	if m.c.quiet {
		return
	}
	if m.shown > 0 {
		fmt.Fprint(m.c.app.Err, "\r\x1b[K")
	}
	fmt.Fprintf(m.c.app.Err, "Successfully copied %s to %s\n", units.HumanSize(float64(m.bytes)), dst)
}
