package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/oci/box"
	"hoy/internal/oci/state"
)

// view is the state as JSON: the specification's, and what runc has beside it.
type view struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func newView(c *state.Container) view {
	v := view{specs.Version, c.ID, c.Pid, box.Status(c), c.Bundle, c.Rootfs, c.Created, c.Annotations, ""}
	if v.Status == box.Stopped {
		v.Pid = 0
	}
	return v
}

func newState(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) {
		c, err := a.store.Open(args[0])
		if err != nil {
			return 1, err
		}
		data, err := json.MarshalIndent(newView(c), "", "  ")
		if err != nil {
			return 1, err
		}
		_, err = a.out.Write(data)
		return 0, err
	}
}

func newList(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var format string
	var quiet bool
	both(f.StringVar, &format, "format", "f", "table", "table or json")
	both(f.BoolVar, &quiet, "quiet", "q", false, "only the ids")
	return func([]string) (int, error) {
		if format != "table" && format != "json" {
			return 1, errors.New("invalid format option")
		}
		ids, err := a.store.List()
		if err != nil {
			return 1, err
		}
		var views []view
		for _, id := range ids {
			if quiet {
				fmt.Fprintln(a.out, id)
				continue
			}
			c, err := a.store.Open(id)
			if errors.Is(err, state.ErrNotExist) {
				continue // deleted since
			}
			if err != nil {
				a.log.warn("load container %s: %v", id, err)
				continue
			}
			v := newView(c)
			v.Owner = owner(c.Owner)
			views = append(views, v)
		}
		if quiet {
			return 0, nil
		}
		return 0, a.printList(views, format)
	}
}

// owner is a user's name, or "#" and the number of one who has none.
func owner(uid int) string {
	if u, err := user.LookupUid(uid); err == nil {
		return u.Name
	}
	return "#" + strconv.Itoa(uid)
}

func (a *app) printList(views []view, format string) error {
	if format == "json" {
		return json.NewEncoder(a.out).Encode(views)
	}
	w := tabwriter.NewWriter(a.out, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, v := range views {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", v.ID, v.Pid, v.Status, v.Bundle, v.Created.Format(time.RFC3339Nano), v.Owner)
	}
	return w.Flush()
}

// rootless says whether what may not be done with control groups is to be let be.
func (a *app) isRootless() bool {
	if yes, err := strconv.ParseBool(a.rootless); err == nil {
		return yes
	}
	return os.Geteuid() != 0 || inUserNS()
}

// inUserNS says whether this process is in a user namespace that is not the
// first: that one maps everything to itself.
func inUserNS() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	var inside, outside, size uint64
	n, err := fmt.Sscan(string(data), &inside, &outside, &size)
	return err == nil && n == 3 && (inside != 0 || outside != 0 || size != 1<<32-1)
}
