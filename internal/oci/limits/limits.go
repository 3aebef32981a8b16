// Package limits reads the limits that update is given, by flags or as JSON.
package limits

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/oci/config"
)

// Flags are update's flags; an empty one changes nothing.
type Flags struct {
	file                                  string
	blkioWeight, period, quota, share     string
	burst, rtPeriod, rtRuntime, idle      string
	cpus, mems, memory, reservation, swap string
	pids, l3, bandwidth                   string
}

// Define adds the flags to f.
func (l *Flags) Define(f *flag.FlagSet) {
	const about = "file with the limits as JSON, or - for standard input; all other flags are ignored then"
	f.StringVar(&l.file, "resources", "", about)
	f.StringVar(&l.file, "r", "", "the same as --resources")
	for _, one := range []struct {
		to          *string
		name, about string
	}{
		{&l.blkioWeight, "blkio-weight", "weight of block I/O, 10 to 1000"},
		{&l.period, "cpu-period", "period of the CPU quota, in microseconds"},
		{&l.quota, "cpu-quota", "CPU time in a period, in microseconds"},
		{&l.burst, "cpu-burst", "CPU time saved up beyond the quota, in microseconds"},
		{&l.share, "cpu-share", "relative weight of CPU time"},
		{&l.rtPeriod, "cpu-rt-period", "period of the realtime limit, in microseconds"},
		{&l.rtRuntime, "cpu-rt-runtime", "realtime CPU time in a period, in microseconds"},
		{&l.idle, "cpu-idle", "1 to run only where nothing else does"},
		{&l.cpus, "cpuset-cpus", "CPUs to use"}, {&l.mems, "cpuset-mems", "memory nodes to use"},
		{&l.memory, "memory", "limit of memory, in bytes"}, {&l.reservation, "memory-reservation", "soft limit of memory, in bytes"},
		{&l.swap, "memory-swap", "limit of memory and swap together, in bytes; -1 for none"},
		{&l.pids, "pids-limit", "most processes; -1 for no limit"},
		{&l.l3, "l3-cache-schema", "schema of Intel RDT's cache allocation"}, {&l.bandwidth, "mem-bw-schema", "schema of Intel RDT's memory bandwidth"},
	} {
		f.StringVar(one.to, one.name, "", one.about)
	}
	// The limit of kernel memory is gone from the kernel; callers may still give it.
	var kernel string
	f.StringVar(&kernel, "kernel-memory", "", "ignored: the kernel has no such limit any more")
	f.StringVar(&kernel, "kernel-memory-tcp", "", "ignored: the kernel has no such limit any more")
}

// Resources are the limits that the flags name; in is standard input.
func (l *Flags) Resources(in io.Reader) (*specs.LinuxResources, error) {
	r := new(specs.LinuxResources)
	if l.l3 != "" || l.bandwidth != "" {
		return nil, errors.New("the cache allocation of Intel RDT is not supported")
	}
	if l.file != "" {
		data, err := l.read(in)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("limits: %w", err)
		}
		r.Devices = nil // device rules are those of the start
		return r, nil
	}
	r.CPU, r.Memory, r.Pids, r.BlockIO = &specs.LinuxCPU{Cpus: l.cpus, Mems: l.mems}, new(specs.LinuxMemory), new(specs.LinuxPids), new(specs.LinuxBlockIO)
	var err error
	for _, set := range []error{
		number(&r.CPU.Period, l.period, "cpu-period"), number(&r.CPU.Quota, l.quota, "cpu-quota"), number(&r.CPU.Burst, l.burst, "cpu-burst"),
		number(&r.CPU.Shares, l.share, "cpu-share"), number(&r.CPU.RealtimePeriod, l.rtPeriod, "cpu-rt-period"),
		number(&r.CPU.RealtimeRuntime, l.rtRuntime, "cpu-rt-runtime"), number(&r.CPU.Idle, l.idle, "cpu-idle"),
		size(&r.Memory.Limit, l.memory, "memory"), size(&r.Memory.Reservation, l.reservation, "memory-reservation"),
		size(&r.Memory.Swap, l.swap, "memory-swap"), number(&r.Pids.Limit, l.pids, "pids-limit"), number(&r.BlockIO.Weight, l.blkioWeight, "blkio-weight"),
	} {
		if err == nil {
			err = set
		}
	}
	return r, err
}

func (l *Flags) read(in io.Reader) ([]byte, error) {
	if l.file == "-" {
		return config.Bounded(in, "standard input")
	}
	return config.File(l.file)
}

// number reads a flag's value where it has one.
func number[T int64 | uint64 | uint16](to **T, s, name string) error {
	if s == "" {
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || int64(T(v)) != v {
		return fmt.Errorf("invalid value for %s: %q", name, s)
	}
	t := T(v)
	*to = &t
	return nil
}

// size reads bytes, with k, m, g or t behind them in powers of 1024.
func size(to **int64, s, name string) error {
	shift := 0
	for i, unit := range []string{"k", "m", "g", "t"} {
		for _, u := range []string{unit, string(unit[0] - 32), unit + "b", unit + "B"} {
			if n := len(s) - len(u); n > 0 && s[n:] == u {
				s, shift = s[:n], 10*(i+1)
			}
		}
	}
	if err := number(to, s, name); err != nil || *to == nil {
		return err
	}
	if shifted := **to << shift; shifted>>shift == **to {
		**to = shifted
		return nil
	}
	return fmt.Errorf("invalid value for %s: %q is too large", name, s)
}
