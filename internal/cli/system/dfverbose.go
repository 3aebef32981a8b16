package system

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"hoy/internal/cli/format"
	"hoy/internal/cli/images"
)

// verboseUsage is what templates of df -v see: lists of rows.
type verboseUsage struct {
	Images, Containers, Volumes, BuildCache []format.Row
}

var (
	imageUsageTable = format.Table{
		Columns: []string{"Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"},
		Headers: map[string]string{
			"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
			"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
		},
	}
	containerUsageTable = format.Table{
		Columns: []string{"ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"},
		Headers: map[string]string{
			"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES",
			"Size": "SIZE", "RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
		},
	}
	volumeUsageTable = format.Table{
		Columns: []string{"Name", "Links", "Size"},
		Headers: map[string]string{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"},
	}
	cacheUsageTable = format.Table{
		Columns: []string{"ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"},
		Headers: map[string]string{
			"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED",
			"LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED",
		},
	}
)

func writeVerboseUsage(w io.Writer, layout string, usage client.DiskUsageResult) error {
	v := verboseRows(usage)
	switch layout {
	case "", "table":
	case "json":
		return format.Execute(w, "{{json .}}", v)
	default:
		return format.Execute(w, layout, v)
	}
	sections := []struct {
		title string
		table *format.Table
		rows  []format.Row
	}{
		{"Images space usage:", &imageUsageTable, v.Images},
		{"Containers space usage:", &containerUsageTable, v.Containers},
		{"Local Volumes space usage:", &volumeUsageTable, v.Volumes},
		{"Build cache usage: " + size(usage.BuildCache.TotalSize), &cacheUsageTable, v.BuildCache},
	}
	for i, section := range sections {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n\n", section.title)
		if err := section.table.Write(w, format.Options{}, section.rows); err != nil {
			return err
		}
	}
	return nil
}

func verboseRows(usage client.DiskUsageResult) verboseUsage {
	v := verboseUsage{Images: []format.Row{}, Containers: []format.Row{}, Volumes: []format.Row{}, BuildCache: []format.Row{}}
	for i := range usage.Images.Items {
		v.Images = append(v.Images, imageUsage(&usage.Images.Items[i])...)
	}
	for i := range usage.Containers.Items {
		v.Containers = append(v.Containers, containerUsage(&usage.Containers.Items[i]))
	}
	for i := range usage.Volumes.Items {
		v.Volumes = append(v.Volumes, volumeUsage(&usage.Volumes.Items[i]))
	}
	slices.SortFunc(usage.BuildCache.Items, leastRecentlyUsed)
	for i := range usage.BuildCache.Items {
		v.BuildCache = append(v.BuildCache, cacheUsage(&usage.BuildCache.Items[i]))
	}
	return v
}

func imageUsage(img *image.Summary) []format.Row {
	shared, unique, containers := "N/A", "N/A", "N/A"
	if img.SharedSize >= 0 {
		shared = size(img.SharedSize)
		if img.Size >= 0 {
			unique = size(img.Size - img.SharedSize)
		}
	}
	if img.Containers >= 0 {
		containers = strconv.FormatInt(img.Containers, 10)
	}
	row := format.Row{
		"Repository": "<none>", "Tag": "<none>", "Digest": "<none>", "ID": images.ID(img.ID, false),
		"CreatedSince": images.Since(img.Created), "CreatedAt": time.Unix(img.Created, 0).String(),
		"Size": units.HumanSizeWithPrecision(float64(img.Size), 3), "VirtualSize": units.HumanSizeWithPrecision(float64(img.Size), 3),
		"SharedSize": shared, "UniqueSize": unique, "Containers": containers,
	}
	if name := images.Names(img, false)[0]; name.Repository != "" {
		row["Repository"] = name.Repository
		if name.Tag != "" {
			row["Tag"] = name.Tag
		}
	}
	return []format.Row{row}
}

func containerUsage(c *container.Summary) format.Row {
	locals := 0
	mounts := []string{}
	for _, m := range c.Mounts {
		if m.Driver == "local" {
			locals++
		}
		name := m.Source
		if m.Name != "" {
			name = m.Name
		}
		mounts = append(mounts, format.Ellipsis(name, 15))
	}
	names := make([]string, 0, len(c.Names))
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		labels = append(labels, key+"="+c.Labels[key])
	}
	bytes := units.HumanSizeWithPrecision(float64(c.SizeRw), 3)
	return format.Row{
		"ID": images.ID(c.ID, false), "Image": containerImage(c), "Command": strconv.Quote(format.Ellipsis(c.Command, 20)),
		"LocalVolumes": strconv.Itoa(locals), "Size": bytes, "Status": c.Status, "State": string(c.State),
		"RunningFor": images.Since(c.Created), "CreatedAt": time.Unix(c.Created, 0).String(),
		"Names": strings.Join(names, ","), "Labels": strings.Join(labels, ","), "Mounts": strings.Join(mounts, ","),
	}.WithLabels(c.Labels)
}

// containerImage shortens an image that is named by its id alone, or by a name with a digest.
func containerImage(c *container.Summary) string {
	if c.Image == "" {
		return "<no image>"
	}
	if images.ID(c.Image, false) == images.ID(c.ImageID, false) {
		return images.ID(c.Image, false)
	}
	if ref, err := reference.ParseNormalizedNamed(c.Image); err == nil {
		if _, digested := ref.(reference.Digested); digested {
			if tagged, ok := ref.(reference.NamedTagged); ok {
				if short, err := reference.WithTag(reference.TrimNamed(ref), tagged.Tag()); err == nil {
					return reference.FamiliarString(short)
				}
			}
		}
	}
	return c.Image
}

func volumeUsage(v *volume.Volume) format.Row {
	links, bytes := "N/A", "N/A"
	if v.UsageData != nil {
		links, bytes = strconv.FormatInt(v.UsageData.RefCount, 10), size(v.UsageData.Size)
	}
	return format.Row{
		"Name": v.Name, "Links": links, "Size": bytes, "Driver": v.Driver, "Scope": v.Scope, "Mountpoint": v.Mountpoint,
	}.WithLabels(v.Labels)
}

// leastRecentlyUsed orders what was never used first.
func leastRecentlyUsed(a, b build.CacheRecord) int {
	at := func(c build.CacheRecord) time.Time {
		if c.LastUsedAt == nil {
			return time.Time{}
		}
		return *c.LastUsedAt
	}
	return cmp.Or(at(a).Compare(at(b)), strings.Compare(a.ID, b.ID))
}

func cacheUsage(c *build.CacheRecord) format.Row {
	id := c.ID
	if id = id[:min(len(id), 12)]; c.InUse {
		id += "*"
	}
	lastSince, lastAt := "", ""
	if c.LastUsedAt != nil {
		lastSince = units.HumanDuration(time.Since(*c.LastUsedAt)) + " ago"
		lastAt = c.LastUsedAt.String()
	}
	return format.Row{
		"ID": id, "CacheType": c.Type, "Description": c.Description, "Size": size(c.Size),
		"CreatedSince": units.HumanDuration(time.Since(c.CreatedAt)) + " ago", "CreatedAt": c.CreatedAt.String(),
		"LastUsedSince": lastSince, "LastUsedAt": lastAt, "UsageCount": strconv.Itoa(c.UsageCount),
		"InUse": strconv.FormatBool(c.InUse), "Shared": strconv.FormatBool(c.Shared),
	}
}
