package metrics

import (
	"context"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/prometheus/client_golang/prometheus"

	"hoy/internal/container/sampler"
)

// infoLabels are those of dockerd's engine_daemon_engine_info.
var infoLabels = []string{"version", "commit", "architecture", "graphdriver", "kernel", "os", "os_type", "os_version", "daemon_id"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	engineInfo   = desc("engine_daemon_engine_info", "The information related to the engine and the OS it is running on", infoLabels...)
	engineCPUs   = desc("engine_daemon_engine_cpus_cpus", "The number of cpus that the host system of the engine has")
	engineMemory = desc("engine_daemon_engine_memory_bytes", "The number of bytes of memory that the host system of the engine has")
	states       = desc("engine_daemon_container_states_containers", "The count of containers in various states", "state")
	eventsTotal  = desc("engine_daemon_events_total", "The number of events logged")
	subscribers  = desc("engine_daemon_events_subscribers_total", "The number of current subscribers to events")
	checks       = desc("engine_daemon_health_checks_total", "The total number of health checks")
	checksFailed = desc("engine_daemon_health_checks_failed_total", "The total number of failed health checks")
	logsDropped  = desc("hoy_log_records_dropped_total", "The total number of log records that were not kept or not taken by their server")
	reads        = desc("hoy_container_stats_reads_total", "How many times the counters of a container were read from the kernel")
)

// engine collects what is of the engine as a whole.
type engine struct{ opt Options }

func (engine) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{engineInfo, engineCPUs, engineMemory, states, eventsTotal, subscribers, checks, checksFailed, logsDropped, reads} {
		ch <- d
	}
}

func (e engine) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	info := make([]string, len(infoLabels))
	for i, l := range infoLabels {
		info[i] = e.opt.Info[l]
	}
	gauge(engineInfo, 1, info...)
	gauge(engineCPUs, float64(e.opt.CPUs))
	gauge(engineMemory, float64(e.opt.Memory))
	_, running, paused, stopped := e.opt.Containers.Counts()
	gauge(states, float64(running), "running")
	gauge(states, float64(paused), "paused")
	gauge(states, float64(stopped), "stopped")
	counter(eventsTotal, e.opt.Events.Published())
	gauge(subscribers, float64(e.opt.Events.Subscribers()))
	made, failed := e.opt.Containers.HealthChecks()
	counter(checks, made)
	counter(checksFailed, failed)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n, err := e.opt.Containers.LogsDropped(ctx); err == nil {
		counter(logsDropped, n)
	}
	counter(reads, e.opt.Containers.Reads())
}

// series is one of a container's.
type series struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(u *sampler.Usage) float64
}

func of(name, help string, kind prometheus.ValueType, value func(u *sampler.Usage) float64) series {
	return series{desc("hoy_container_"+name, help, "id", "name", "image"), kind, value}
}

const (
	count = prometheus.CounterValue
	level = prometheus.GaugeValue
)

// perContainer are the series with one value for each container.
var perContainer = []series{
	of("cpu_seconds_total", "Processor time used", count, func(u *sampler.Usage) float64 { return seconds(u.CPUStats.CPUUsage.TotalUsage) }),
	of("cpu_user_seconds_total", "Processor time used in user mode", count, func(u *sampler.Usage) float64 { return seconds(u.CPUStats.CPUUsage.UsageInUsermode) }),
	of("cpu_system_seconds_total", "Processor time used in kernel mode", count, func(u *sampler.Usage) float64 { return seconds(u.CPUStats.CPUUsage.UsageInKernelmode) }),
	of("cpu_throttled_seconds_total", "Time that processes waited for their quota", count, func(u *sampler.Usage) float64 { return seconds(u.CPUStats.ThrottlingData.ThrottledTime) }),
	of("cpu_throttled_periods_total", "Periods in which the quota was used up", count, func(u *sampler.Usage) float64 { return float64(u.CPUStats.ThrottlingData.ThrottledPeriods) }),
	of("memory_bytes", "Memory used, without file pages that the kernel drops at once", level, memory),
	of("memory_usage_bytes", "Memory used, with the page cache", level, func(u *sampler.Usage) float64 { return float64(u.MemoryStats.Usage) }),
	of("memory_limit_bytes", "Memory that may be used: the limit, or what the machine has", level, func(u *sampler.Usage) float64 { return float64(u.MemoryStats.Limit) }),
	of("oom_kills", "Processes of this run that were killed for want of memory", level, func(u *sampler.Usage) float64 { return float64(u.OOMKills) }),
	of("log_dropped_total", "Records of this run's output that the log could not take", count, func(u *sampler.Usage) float64 { return float64(u.LogDropped) }),
	of("pids", "Processes and threads", level, func(u *sampler.Usage) float64 { return float64(u.PidsStats.Current) }),
	of("io_read_bytes_total", "Bytes read from block devices", count, func(u *sampler.Usage) float64 { return blocks(u.BlkioStats.IoServiceBytesRecursive, "read") }),
	of("io_write_bytes_total", "Bytes written to block devices", count, func(u *sampler.Usage) float64 { return blocks(u.BlkioStats.IoServiceBytesRecursive, "write") }),
	of("io_reads_total", "Reads from block devices", count, func(u *sampler.Usage) float64 { return blocks(u.BlkioStats.IoServicedRecursive, "read") }),
	of("io_writes_total", "Writes to block devices", count, func(u *sampler.Usage) float64 { return blocks(u.BlkioStats.IoServicedRecursive, "write") }),
	of("restarts_total", "Starts by the restart policy since the last by hand", count, func(u *sampler.Usage) float64 { return float64(u.RestartCount) }),
	of("start_time_seconds", "When the container was started, in seconds since 1970", level, func(u *sampler.Usage) float64 { return float64(u.State.StartedAt.UnixMilli()) / 1000 }),
}

// devices are the series with one value for each network device of a container.
var devices = []struct {
	desc  *prometheus.Desc
	value func(n container.NetworkStats) uint64
}{
	{device("receive_bytes_total", "Bytes received"), func(n container.NetworkStats) uint64 { return n.RxBytes }},
	{device("receive_packets_total", "Packets received"), func(n container.NetworkStats) uint64 { return n.RxPackets }},
	{device("receive_errors_total", "Errors while receiving"), func(n container.NetworkStats) uint64 { return n.RxErrors }},
	{device("receive_dropped_total", "Packets dropped while receiving"), func(n container.NetworkStats) uint64 { return n.RxDropped }},
	{device("transmit_bytes_total", "Bytes sent"), func(n container.NetworkStats) uint64 { return n.TxBytes }},
	{device("transmit_packets_total", "Packets sent"), func(n container.NetworkStats) uint64 { return n.TxPackets }},
	{device("transmit_errors_total", "Errors while sending"), func(n container.NetworkStats) uint64 { return n.TxErrors }},
	{device("transmit_dropped_total", "Packets dropped while sending"), func(n container.NetworkStats) uint64 { return n.TxDropped }},
}

func device(name, help string) *prometheus.Desc {
	return desc("hoy_container_network_"+name, help, "id", "name", "image", "device")
}

// health has one value for each container with a check: 1 is healthy.
var health = desc("hoy_container_healthy", "Whether the health check succeeds; containers without one are left out", "id", "name", "image")

func seconds(nanoseconds uint64) float64 { return float64(nanoseconds) / 1e9 }

// memory is what `stats` shows.
func memory(u *sampler.Usage) float64 {
	m := u.MemoryStats
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if cache, ok := m.Stats[key]; ok && cache < m.Usage {
			return float64(m.Usage - cache)
		}
	}
	return float64(m.Usage)
}

// blocks adds up what all devices have of an operation.
func blocks(entries []container.BlkioStatEntry, op string) (sum float64) {
	for _, e := range entries {
		if strings.EqualFold(e.Op, op) {
			sum += float64(e.Value)
		}
	}
	return sum
}

// containers collects what each container that runs has used.
type containers struct{ opt Options }

func (containers) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range perContainer {
		ch <- s.desc
	}
	for _, d := range devices {
		ch <- d.desc
	}
	ch <- health
}

// maxDevices bounds how many network devices of one container are told of:
// whoever may make devices there may make very many.
const maxDevices = 16

func (c containers) Collect(ch chan<- prometheus.Metric) {
	c.opt.Containers.Each(func(u sampler.Usage) {
		labels := []string{u.Record.ID, u.Record.Name, valid(u.Config.Image)}
		for _, s := range perContainer {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&u), labels...)
		}
		n := 0
		for name, stats := range u.Networks {
			if n++; n > maxDevices {
				break
			}
			for _, d := range devices {
				ch <- prometheus.MustNewConstMetric(d.desc, count, float64(d.value(stats)), append(labels[:3:3], valid(name))...)
			}
		}
		if u.Health != nil {
			well := 0.0
			if u.Health.Status == container.Healthy {
				well = 1
			}
			ch <- prometheus.MustNewConstMetric(health, level, well, labels...)
		}
	})
}

// valid is a label's value: a device may have any bytes for its name.
func valid(s string) string { return strings.ToValidUTF8(s, "?") }
