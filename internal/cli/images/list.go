package images

import (
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/format"
	"hoy/internal/cli/listflag"
)

const none = "<none>"

var listTable = format.Table{
	Columns: []string{"Repository", "Tag", "ID", "CreatedSince", "Size"},
	Quiet:   "ID",
	Headers: map[string]string{
		"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST",
		"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
		"Containers": "CONTAINERS", "VirtualSize": "SIZE", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
	},
	Shrink: []string{"Repository", "Tag", "CreatedSince"},
}

func newList(app *cli.App) *cobra.Command {
	var opt listOptions
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS] [REPOSITORY[:TAG]]",
		Aliases: []string{"list"},
		Short:   "List images",
		Example: `  hoy images
  hoy images debian
  hoy images --filter dangling=true -q
  hoy images --format "{{.Repository}}:{{.Tag}} {{.Size}}"`,
		Args:              cli.MaxArgs(1),
		ValidArgsFunction: complete.Images(app, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				opt.match = args[0]
			}
			return runList(cmd, app, opt)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&opt.all, "all", "a", false, "Show all images (default hides intermediate images)")
	flags.BoolVar(&opt.digests, "digests", false, "Show digests")
	opt.filter = listflag.Filter(flags, "f", "Filter output based on conditions provided")
	listflag.Format(flags, &opt.format, "", true)
	flags.BoolVar(&opt.full, "no-trunc", false, "Don't truncate output")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "Only show image IDs")
	return cmd
}

type listOptions struct {
	match, format             string
	all, digests, full, quiet bool
	filter                    *listflag.Value
}

func runList(cmd *cobra.Command, app *cli.App, opt listOptions) error {
	api, err := app.Client()
	if err != nil {
		return err
	}
	filters := opt.filter.Filters()
	if opt.match != "" {
		filters.Add("reference", opt.match)
	}
	list, err := api.ImageList(cmd.Context(), client.ImageListOptions{All: opt.all, Filters: filters})
	if err != nil {
		return err
	}
	layout := opt.format
	if layout == "" && !opt.quiet {
		layout = app.Settings().ImagesFormat
	}
	table := listTable
	if opt.digests {
		table.Columns = []string{"Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"}
	}
	perDigest := opt.digests || strings.Contains(layout, ".Digest")
	var rows []format.Row
	for i := range list.Items {
		rows = append(rows, imageRows(&list.Items[i], perDigest, opt.full)...)
	}
	width := app.Out.Width()
	if opt.full {
		width = 0
	}
	return table.Write(app.Out, format.Options{Format: layout, Quiet: listflag.Quiet(opt.quiet, layout), Width: width, Warnings: app.Err}, rows)
}

// Name is one way to call an image; an empty part is none.
type Name struct{ Repository, Tag, Digest string }

// Names lists the ways to call an image, as rows of a list: one for each tag,
// and one for a repository of which it has only a digest. With perDigest, each
// digest makes a row. There is always at least one.
func Names(img *image.Summary, perDigest bool) []Name {
	var repos []string
	tags, digests := map[string][]string{}, map[string][]string{}
	seen := func(repo string) {
		if len(tags[repo]) == 0 && len(digests[repo]) == 0 {
			repos = append(repos, repo)
		}
	}
	for _, text := range img.RepoTags {
		if repo, tag, ok := splitTag(text); ok {
			seen(repo)
			tags[repo] = append(tags[repo], tag)
		}
	}
	for _, text := range img.RepoDigests {
		if repo, digest, ok := splitDigest(text); ok {
			seen(repo)
			digests[repo] = append(digests[repo], digest)
		}
	}
	var names []Name
	for _, repo := range repos {
		switch {
		case !perDigest && len(tags[repo]) == 0:
			names = append(names, Name{Repository: repo})
		case !perDigest || len(digests[repo]) == 0:
			for _, tag := range tags[repo] {
				names = append(names, Name{Repository: repo, Tag: tag})
			}
		case len(tags[repo]) == 0:
			for _, digest := range digests[repo] {
				names = append(names, Name{repo, "", digest})
			}
		default:
			for _, tag := range tags[repo] {
				for _, digest := range digests[repo] {
					names = append(names, Name{repo, tag, digest})
				}
			}
		}
	}
	if len(names) == 0 {
		return []Name{{}}
	}
	return names
}

func splitTag(text string) (repo, tag string, ok bool) {
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return "", "", false
	}
	tagged, ok := ref.(reference.Tagged)
	if !ok {
		return "", "", false
	}
	return reference.FamiliarName(ref), tagged.Tag(), true
}

func splitDigest(text string) (repo, digest string, ok bool) {
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return "", "", false
	}
	digested, ok := ref.(reference.Digested)
	if !ok {
		return "", "", false
	}
	return reference.FamiliarName(ref), digested.Digest().String(), true
}

func imageRows(img *image.Summary, perDigest, full bool) []format.Row {
	var rows []format.Row
	for _, name := range Names(img, perDigest) {
		rows = append(rows, format.Row{
			"ID": ID(img.ID, full), "Repository": orNone(name.Repository), "Tag": orNone(name.Tag), "Digest": orNone(name.Digest),
			"CreatedSince": Since(img.Created), "CreatedAt": time.Unix(img.Created, 0).String(),
			"Size": units.HumanSizeWithPrecision(float64(img.Size), 3), "VirtualSize": units.HumanSize(float64(img.Size)),
			"Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
		})
	}
	return rows
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// ID gives an image's id as lists show it: 12 hexadecimal digits, or all of it.
func ID(id string, full bool) string {
	if full {
		return id
	}
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	return id[:min(len(id), 12)]
}

// Since says how long ago the Unix time was.
func Since(created int64) string {
	if created <= 0 {
		return "N/A"
	}
	return units.HumanDuration(time.Since(time.Unix(created, 0))) + " ago"
}
