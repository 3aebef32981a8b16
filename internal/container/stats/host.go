// Package stats tells what a container's processes use and what they are.
package stats

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// system returns the processor time that the whole machine has used and the
// number of its processors that are on. The time is in nanoseconds, from the
// first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and
// steal, as Docker's clients expect it for their percentages.
func system() (total uint64, online uint32, err error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseSystem(string(data))
}

func parseSystem(data string) (total uint64, online uint32, err error) {
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		switch {
		case len(f) > 8 && f[0] == "cpu":
			for _, v := range f[1:9] {
				n, err := strconv.ParseUint(v, 10, 64)
				if err != nil {
					return 0, 0, fmt.Errorf("/proc/stat: %w", err)
				}
				total += n * uint64(tick)
			}
		case len(f) > 0 && strings.HasPrefix(f[0], "cpu"):
			online++
		}
	}
	if total == 0 {
		return 0, 0, errors.New("/proc/stat has no line cpu")
	}
	return total, online, nil
}

// networks reads the counters of a process's network devices, without loopback.
func networks(pid int) (map[string]container.NetworkStats, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil, err
	}
	return parseNetDev(string(data)), nil
}

// parseNetDev reads /proc/net/dev: a name, a colon, eight counters of what came
// in and eight of what went out. Lines of another shape are passed over.
func parseNetDev(data string) map[string]container.NetworkStats {
	out := map[string]container.NetworkStats{}
	for line := range strings.Lines(data) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		name = strings.TrimSpace(name)
		if !ok || len(f) < 16 || name == "lo" {
			continue
		}
		n := make([]uint64, 16)
		for i := range n {
			n[i], _ = strconv.ParseUint(f[i], 10, 64)
		}
		out[name] = container.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return out
}
