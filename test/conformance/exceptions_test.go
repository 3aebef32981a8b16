package conformance

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// exception names a point of a program of the validation suite.
type exception struct{ program, point string }

const anyProgram = "any"

// reason says why a point does not apply, and where: without holds everywhere.
type reason struct {
	text  string
	holds func() bool
	// race: the point fails or not by which of two processes is faster.
	race bool
}

func (r reason) here() bool { return r.holds == nil || r.holds() }

// measured has what the runtimes passed in this run.
var measured = map[string]map[string]outcome{}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// lacks says whether this process is without a capability.
func lacks(capability int) func() bool {
	return func() bool {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
		return err == nil && has == 0
	}
}

func missing(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err != nil
	}
}

// listsByNumber says whether mountinfo has mounts in the order of their numbers.
func listsByNumber() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 8
}

const (
	noLSM    = "this kernel has no such security module, and hoy-run refuses what it could not enforce"
	pointers = "the suite compares the addresses of two numbers, not the numbers; every runtime fails"
	asOthers = "hoy-run deletes a created container, as runc and crun do and as engines rely on"
)

// notApplicable is every point that hoy-run does not pass, with its reason.
var notApplicable = map[exception]reason{
	{anyProgram, inOrder}: {text: "every mount is placed in the listed order (TestMountsInOrder), but since Linux 6.8 mountinfo, which the suite reads, lists mounts in the order in which they were made: hoy-run makes those that need no namespace of the container before the container", holds: listsByNumber},

	{"delete", "attempting to `delete` a container that is not `stopped` MUST generate an error"}:                                                                {text: asOthers},
	{"delete", "attempting to `delete` a container that is not `stopped` MUST have no effect on the container"}:                                                  {text: asOthers},
	{"hooks", "Hooks MUST be called in the listed order"}:                                                                                                        {text: "the suite expects other words than its own hooks write; every runtime fails"},
	{"hooks_stdin", "the state of the container MUST be passed to \"prestart\" hook over stdin"}:                                                                 {text: "the suite wants the state “created”; these hooks run within create, where the specification's state is “creating”, as hoy-run and runc say"},
	{"misc_props", "implementations that are reading/processing this configuration file MUST NOT generate an error if they encounter an unknown annotation key"}: {text: "the suite does not put the program into the bundle that it runs; every runtime fails"},
	{"pidfile", "create with '--pid-file' option works"}:                                                                                                         {text: "the suite sends a signal to a process that has most often ended, which must be an error", race: true},
	{"poststart", "The post-start hooks MUST be called before the `start` operation returns"}:                                                                    {text: "the suite wants the container's process to have written a file before the hook, which runs beside it, does", race: true},
	{"prestart", "Pre-start hooks MUST be called after the `start` operation is called"}:                                                                         {text: "since version 1.0.2 of the specification these hooks run at create; every runtime fails"},
	{"start", "exit status 1"}:                             {text: "the suite creates a container without a process, and wants its start to succeed where the specification wants an error; every runtime fails"},
	{"process_rlimits", "has expected soft RLIMIT_NOFILE"}: {text: "Go's start-up raises this limit in the suite's own program inside; every runtime fails"},

	{"linux_ns_itype", "cannot run validation tests: exit status 1"}: {text: "refused: without a mount namespace of its own, a container's mounts would be the host's"},
	{"linux_mount_label", ended}:                                     {text: "SELinux: " + noLSM, holds: missing("/sys/fs/selinux/enforce")},
	{"linux_process_apparmor_profile", ended}:                        {text: "AppArmor: " + noLSM, holds: missing("/sys/kernel/security/apparmor")},

	{"process_capabilities", "expected bounding capability CAP_SYS_RESOURCE set"}:    {text: noCapability, holds: lacks(unix.CAP_SYS_RESOURCE)},
	{"process_capabilities", "expected effective capability CAP_SYS_RESOURCE set"}:   {text: noCapability, holds: lacks(unix.CAP_SYS_RESOURCE)},
	{"process_capabilities", "expected inheritable capability CAP_SYS_RESOURCE set"}: {text: noCapability, holds: lacks(unix.CAP_SYS_RESOURCE)},
	{"process_capabilities", "expected permitted capability CAP_SYS_RESOURCE set"}:   {text: noCapability, holds: lacks(unix.CAP_SYS_RESOURCE)},
	{"process_capabilities", "expected ambient capability CAP_SYS_RESOURCE set"}:     {text: noCapability, holds: lacks(unix.CAP_SYS_RESOURCE)},

	{"process_capabilities_fail", ended}: {text: "a capability that nobody knows: the suite wants an error, the specification a warning; runc and crun warn too"},

	{"delete_resources", "pids limit is set correctly"}:                 {text: pointers},
	{"linux_cgroups_pids", "pids limit is set correctly"}:               {text: pointers},
	{"linux_cgroups_relative_pids", "pids limit is set correctly"}:      {text: pointers},
	{"linux_cgroups_blkio", ended}:                                      {text: noController("blkio.leaf_weight"), holds: missing("/sys/fs/cgroup/blkio/blkio.leaf_weight")},
	{"linux_cgroups_relative_blkio", "exit status 1"}:                   {text: noController("blkio.leaf_weight"), holds: missing("/sys/fs/cgroup/blkio/blkio.leaf_weight")},
	{"linux_cgroups_hugetlb", ended}:                                    {text: noController("hugetlb"), holds: missing("/sys/fs/cgroup/hugetlb")},
	{"linux_cgroups_relative_hugetlb", "get hugetlb cgroup data"}:       {text: noController("hugetlb"), holds: missing("/sys/fs/cgroup/hugetlb")},
	{"linux_cgroups_network", ended}:                                    {text: noController("net_cls"), holds: missing("/sys/fs/cgroup/net_cls")},
	{"linux_cgroups_relative_network", "exit status 1"}:                 {text: noController("net_cls"), holds: missing("/sys/fs/cgroup/net_cls")},
	{"linux_cgroups_memory", "memory kernel is set correctly"}:          {text: noKernelMemory},
	{"linux_cgroups_relative_memory", "memory kernel is set correctly"}: {text: noKernelMemory},
}

const noKernelMemory = "since Linux 5.16 the kernel takes no limit of kernel memory; every runtime fails"

const noCapability = "this machine gives nobody this capability; hoy-run leaves out what it lacks, with a warning, as the specification asks"

func noController(what string) string { return "this kernel has no " + what }
