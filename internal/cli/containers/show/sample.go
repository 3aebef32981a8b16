package show

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"hoy/internal/cli/format"
)

// sample is one line of stats. An invalid one shows dashes: nothing was measured
// yet, or the container has stopped.
type sample struct {
	asked, id, name        string
	valid                  bool
	cpu, memPercent        float64
	memory, limit          float64
	netRead, netWritten    float64
	blockRead, blockWriten float64
	pids                   uint64
}

func newSample(asked string, s *container.StatsResponse) sample {
	used := memoryWithoutCache(s.MemoryStats)
	out := sample{
		asked: asked, id: s.ID, name: s.Name, valid: true,
		cpu: cpuPercent(s), memory: used, limit: float64(s.MemoryStats.Limit), pids: s.PidsStats.Current,
	}
	if out.limit > 0 {
		out.memPercent = used / out.limit * 100
	}
	for _, n := range s.Networks {
		out.netRead += float64(n.RxBytes)
		out.netWritten += float64(n.TxBytes)
	}
	for _, entry := range s.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(entry.Op) {
		case "read":
			out.blockRead += float64(entry.Value)
		case "write":
			out.blockWriten += float64(entry.Value)
		}
	}
	return out
}

// cpuPercent is the share of one processor: 200 is two of them busy.
func cpuPercent(s *container.StatsResponse) float64 {
	cpu := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	system := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	online := float64(s.CPUStats.OnlineCPUs)
	if online == 0 {
		online = float64(len(s.CPUStats.CPUUsage.PercpuUsage))
	}
	if cpu <= 0 || system <= 0 {
		return 0
	}
	return cpu / system * online * 100
}

// memoryWithoutCache leaves out file pages that the kernel drops at once when
// memory is short; cgroup v1 and v2 name them differently.
func memoryWithoutCache(m container.MemoryStats) float64 {
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if cache, ok := m.Stats[key]; ok {
			if cache < m.Usage {
				return float64(m.Usage - cache)
			}
			break
		}
	}
	return float64(m.Usage)
}

var statsTable = format.Table{
	Columns: []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"},
	Quiet:   "ID",
	Headers: map[string]string{
		"Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
		"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
	},
	Shrink: []string{"Name"},
}

func (s *sample) row(full bool) format.Row {
	id := s.id
	if !full && len(id) > 12 {
		id = id[:12]
	}
	row := format.Row{"Container": s.asked, "ID": id, "Name": strings.TrimPrefix(s.name, "/")}
	if !s.valid {
		for _, field := range []string{"CPUPerc", "MemPerc", "PIDs"} {
			row[field] = "--"
		}
		for _, field := range []string{"MemUsage", "NetIO", "BlockIO"} {
			row[field] = "-- / --"
		}
		if s.id == "" {
			row["ID"] = "--"
		}
		if s.name == "" {
			row["Name"] = "--"
		}
		return row
	}
	row["CPUPerc"] = fmt.Sprintf("%.2f%%", s.cpu)
	row["MemUsage"] = units.BytesSize(s.memory) + " / " + units.BytesSize(s.limit)
	row["MemPerc"] = fmt.Sprintf("%.2f%%", s.memPercent)
	row["NetIO"] = pair(s.netRead, s.netWritten)
	row["BlockIO"] = pair(s.blockRead, s.blockWriten)
	row["PIDs"] = fmt.Sprint(s.pids)
	return row
}

func pair(in, out float64) string {
	return units.HumanSizeWithPrecision(in, 3) + " / " + units.HumanSizeWithPrecision(out, 3)
}
