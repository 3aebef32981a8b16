package lifecycle

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/complete"
	"hoy/internal/cli/flags"
	"hoy/internal/cli/flags/value"
)

type updateFlags struct {
	blkioWeight                                    uint16
	cpuPeriod, cpuQuota, rtPeriod, rtUs, cpuShares int64
	cpus                                           value.CPUs
	cpusetCPUs, cpusetMems, restart                string
	memory, reservation, swap, kernel              value.Bytes
	pids                                           int64
}

// NewUpdate returns `update`.
func NewUpdate(app *cli.App) *cobra.Command {
	var f updateFlags
	cmd := &cobra.Command{
		Use:               "update [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Update configuration of one or more containers",
		Example:           "  hoy update -m 512m --cpus 2 web\n  hoy update --restart unless-stopped web db",
		Args:              cli.MinArgs(1),
		ValidArgsFunction: complete.Containers(app, 0, nil),
	}
	f.swap.Unlimited = true
	fs := cmd.Flags()
	fs.Uint16Var(&f.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)")
	fs.Int64Var(&f.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	fs.Int64Var(&f.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	fs.Int64Var(&f.rtPeriod, "cpu-rt-period", 0, "Limit the CPU real-time period in microseconds")
	fs.Int64Var(&f.rtUs, "cpu-rt-runtime", 0, "Limit the CPU real-time runtime in microseconds")
	fs.Int64VarP(&f.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	fs.Var(&f.cpus, "cpus", "Number of CPUs")
	fs.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	fs.StringVar(&f.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	fs.VarP(&f.memory, "memory", "m", "Memory limit")
	fs.Var(&f.reservation, "memory-reservation", "Memory soft limit")
	fs.Var(&f.swap, "memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	fs.Var(&f.kernel, "kernel-memory", "Kernel memory limit")
	fs.Lookup("kernel-memory").Hidden = true
	fs.Int64Var(&f.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	fs.StringVar(&f.restart, "restart", "", "Restart policy to apply when a container exits")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, app, args) }
	return cmd
}

func (f *updateFlags) run(cmd *cobra.Command, app *cli.App, names []string) error {
	if cmd.Flags().NFlag() == 0 {
		return errors.New("you must provide one or more flags when using this command")
	}
	opt := client.ContainerUpdateOptions{Resources: &container.Resources{
		BlkioWeight: f.blkioWeight, CPUPeriod: f.cpuPeriod, CPUQuota: f.cpuQuota, CPURealtimePeriod: f.rtPeriod,
		CPURealtimeRuntime: f.rtUs, CPUShares: f.cpuShares, NanoCPUs: int64(f.cpus),
		CpusetCpus: f.cpusetCPUs, CpusetMems: f.cpusetMems,
		Memory: f.memory.Value, MemoryReservation: f.reservation.Value, MemorySwap: f.swap.Value,
	}}
	if cmd.Flags().Changed("pids-limit") {
		opt.Resources.PidsLimit = &f.pids
	}
	restart, err := flags.ParseRestart(f.restart)
	if err != nil {
		return err
	}
	opt.RestartPolicy = &restart
	api, err := app.Client()
	if err != nil {
		return err
	}
	var errs []error
	var warnings []string
	for _, name := range names {
		updated, err := api.ContainerUpdate(cmd.Context(), name, opt)
		warnings = append(warnings, updated.Warnings...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(app.Out, name)
	}
	if len(warnings) > 0 {
		fmt.Fprintln(app.Out, strings.Join(warnings, "\n"))
	}
	return errors.Join(errs...)
}
