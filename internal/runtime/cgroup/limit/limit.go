// Package limit turns the limits of an OCI specification into writes to the
// files of a control group, of version 1 or 2 as the machine carries each
// controller. Nothing is written here.
package limit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/tree"
)

// Write is one write into a group's directory.
type Write struct {
	// Controller is the version 1 hierarchy; "" is the version 2 directory.
	Controller string
	File       string
	Value      string
	// Or is written instead where File does not exist.
	Or *Write
	// Pass lists refusals that are none: the kernel lacks what was not really asked for.
	Pass []unix.Errno
	// Again says that a refusal as invalid may only mean that another value
	// has to be changed first: the write is tried once more after the others.
	Again bool
	// Keyed files hold a value for each device: what they held cannot be written back.
	Keyed bool
}

// Plan is what limits come to.
type Plan struct {
	Writes []Write
	// Needs are controllers beyond the usual ones that the writes go to: version 1's names.
	Needs []string
	// Needs2 are version 2 controllers that must be enabled for the group.
	Needs2 []string
}

type planner struct {
	t *tree.Tree
	Plan
	err error
}

// Of turns r into a plan. Devices are not part of it.
func Of(r *specs.LinuxResources, t *tree.Tree) (Plan, error) {
	if r == nil {
		return Plan{}, nil
	}
	p := &planner{t: t}
	if m := r.Memory; m != nil && *m != (specs.LinuxMemory{}) {
		p.use("memory", func() { p.memory1(m) }, func() { p.memory2(m) })
	}
	if c := r.CPU; c != nil {
		p.cpu(c)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		value := pidsMax(*r.Pids.Limit)
		p.use("pids", func() { p.one("pids", "pids.max", value) }, func() { p.two("pids.max", value) })
	}
	if b := r.BlockIO; b != nil && hasBlockIO(b) {
		p.use("blkio", func() { p.blkio1(b) }, func() { p.io2(b) })
	}
	p.hugetlb(r.HugepageLimits)
	p.rdma(r.Rdma)
	p.network(r.Network)
	p.raw(r.Unified)
	return p.Plan, p.err
}

// use plans by the version that carries a controller.
func (p *planner) use(controller string, v1, v2 func()) {
	one, two := p.t.Has(controller)
	switch {
	case one:
		p.Needs = append(p.Needs, controller)
		v1()
	case two:
		p.Needs2 = append(p.Needs2, map[bool]string{true: "io", false: controller}[controller == "blkio"])
		v2()
	default:
		p.fail(errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("no %s cgroup controller is mounted: its limits cannot be set", controller)))
	}
}

func (p *planner) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *planner) invalid(format string, args ...any) {
	p.fail(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...)))
}

func (p *planner) one(controller, file, value string) {
	p.Writes = append(p.Writes, Write{Controller: controller, File: file, Value: value})
}

func (p *planner) two(file, value string) { p.one("", file, value) }

func (p *planner) add(w Write) { p.Writes = append(p.Writes, w) }

func num[T int64 | uint64 | uint16 | uint32](v T) string {
	if v >= 0 {
		return strconv.FormatUint(uint64(v), 10)
	}
	return strconv.FormatInt(int64(v), 10)
}

// maxOr is version 2's form of a limit.
func maxOr(v int64) string {
	if v < 0 {
		return "max"
	}
	return num(v)
}

// pidsMax never is 0: systemd cannot say it, and both drivers shall agree.
func pidsMax(v int64) string {
	if v == 0 {
		v = 1
	}
	return maxOr(v)
}

func (p *planner) hugetlb(limits []specs.LinuxHugepageLimit) {
	if len(limits) == 0 {
		return
	}
	plan := func(controller, suffix string) func() {
		return func() {
			for _, h := range limits {
				if h.Pagesize == "" || strings.ContainsAny(h.Pagesize, "/. \x00\n") {
					p.invalid("invalid huge page size %q", h.Pagesize)
					return
				}
				file := "hugetlb." + h.Pagesize
				p.one(controller, file+suffix, num(h.Limit))
				// Reservations are limited since Linux 5.7.
				p.add(Write{Controller: controller, File: file + ".rsvd" + suffix, Value: num(h.Limit), Pass: []unix.Errno{unix.ENOENT, unix.EACCES, unix.EPERM}})
			}
		}
	}
	p.use("hugetlb", plan("hugetlb", ".limit_in_bytes"), plan("", ".max"))
}

func (p *planner) rdma(limits map[string]specs.LinuxRdma) {
	if len(limits) == 0 {
		return
	}
	plan := func(controller string) func() {
		return func() {
			for _, device := range sortedKeys(limits) {
				if strings.ContainsAny(device, " \n\x00") || device == "" {
					p.invalid("invalid RDMA device %q", device)
					return
				}
				value, l := device, limits[device]
				if l.HcaHandles != nil {
					value += " hca_handle=" + num(*l.HcaHandles)
				}
				if l.HcaObjects != nil {
					value += " hca_object=" + num(*l.HcaObjects)
				}
				p.add(Write{Controller: controller, File: "rdma.max", Value: value, Keyed: true})
			}
		}
	}
	p.use("rdma", plan("rdma"), plan(""))
}

// network is version 1's alone: version 2 marks packets in other ways.
func (p *planner) network(n *specs.LinuxNetwork) {
	if n == nil {
		return
	}
	only1 := func(controller string) func() {
		return func() { p.invalid("%s is not to be had with version 2 cgroups", controller) }
	}
	if n.ClassID != nil && *n.ClassID != 0 {
		p.use("net_cls", func() { p.one("net_cls", "net_cls.classid", num(*n.ClassID)) }, only1("net_cls"))
	}
	if len(n.Priorities) > 0 {
		p.use("net_prio", func() {
			for _, i := range n.Priorities {
				if strings.ContainsAny(i.Name, " \n\x00") || i.Name == "" {
					p.invalid("invalid network interface %q", i.Name)
					return
				}
				p.add(Write{Controller: "net_prio", File: "net_prio.ifpriomap", Value: i.Name + " " + num(i.Priority), Keyed: true})
			}
		}, only1("net_prio"))
	}
}

// raw are version 2's own keys; on a hybrid machine those whose controller is there.
func (p *planner) raw(keys map[string]string) {
	for _, key := range sortedKeys(keys) {
		controller, param, ok := strings.Cut(key, ".")
		switch {
		case !ok || controller == "" || param == "" || strings.ContainsAny(key, "/\x00"):
			p.invalid("unified resource %q must be in the form CONTROLLER.PARAMETER", key)
		case p.t.V2.Dir == "":
			p.invalid("unified resource %q: this machine has no version 2 cgroups", key)
		case controller == "cgroup":
			if !rawCore[param] {
				p.invalid("unified resource %q is not a limit", key)
			}
		case !slices.Contains(p.t.Controllers, controller):
			p.invalid("unified resource %q can't be set: controller %q not available in the version 2 tree", key, controller)
		default:
			p.Needs2 = append(p.Needs2, controller)
		}
		for line := range strings.SplitSeq(strings.TrimRight(keys[key], "\n"), "\n") {
			p.add(Write{File: key, Value: line, Keyed: strings.Contains(line, " ") && controller != "cpu"})
		}
	}
}

// rawCore are the core files that limit; the others move processes or change what a group is.
var rawCore = map[string]bool{"max.depth": true, "max.descendants": true, "pressure": true, "freeze": true}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
