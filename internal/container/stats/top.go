package stats

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// Top lists processes as ps(1) does, for host pids. Without arguments, and for
// "-ef", it reads /proc itself; for any other arguments it runs the host's ps.
func Top(ctx context.Context, pids []int, psArgs string) (container.TopResponse, error) {
	switch strings.TrimSpace(psArgs) {
	case "", "-ef", "ef":
		return full(pids, time.Now())
	}
	return runPS(ctx, pids, psArgs)
}

// forbiddenColumn finds a column that is renamed to PID, which would hide which
// line belongs to which process.
var forbiddenColumn = regexp.MustCompile(`\s+(\S*)=\s*(PID\S*)`)

func validatePSArgs(args string) error {
	for _, m := range forbiddenColumn.FindAllStringSubmatch(args, -1) {
		if m[1] != "pid" {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("specifying \"%s=%s\" is not allowed", m[1], m[2]))
		}
	}
	if strings.ContainsRune(args, 0) || len(args) > 4096 {
		return errdefs.ErrInvalidArgument.WithMessage("ps arguments are too long or contain NUL")
	}
	return nil
}

func runPS(ctx context.Context, pids []int, psArgs string) (container.TopResponse, error) {
	if err := validatePSArgs(psArgs); err != nil {
		return container.TopResponse{}, err
	}
	var list []string
	for _, p := range pids {
		list = append(list, strconv.Itoa(p))
	}
	args := strings.Fields(psArgs)
	// Some options cannot be joined with -q; then ps lists all and we choose.
	out, err := ps(ctx, append(slices.Clone(args), "-q"+strings.Join(list, ","))...)
	if err != nil {
		if out, err = ps(ctx, args...); err != nil {
			return container.TopResponse{}, err
		}
	}
	return parsePS(out, pids)
}

func ps(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "ps", args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, errdefs.ErrInternal.WithMessage("error running ps: the host has no ps command; without arguments none is needed")
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		line, _, _ := bytes.Cut(bytes.TrimSpace(exit.Stderr), []byte("\n"))
		return nil, errdefs.ErrInternal.WithMessage(fmt.Sprintf("error running ps: %s", line))
	}
	return nil, errdefs.ErrInternal.WithMessage(fmt.Sprintf("error running ps: %v", err))
}

// parsePS keeps the lines of the wanted processes. The last column takes what is left of its line.
func parsePS(out []byte, pids []int) (container.TopResponse, error) {
	var resp container.TopResponse
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 4<<20)
	column := -1
	for lines.Scan() {
		fields := asciiFields(lines.Text())
		if resp.Titles == nil {
			resp.Titles = fields
			if column = slices.Index(fields, "PID"); column < 0 {
				return container.TopResponse{}, errdefs.ErrInternal.WithMessage("couldn't find PID field in ps output")
			}
			continue
		}
		if len(fields) <= column {
			continue
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil || !slices.Contains(pids, pid) {
			continue
		}
		if last := len(resp.Titles) - 1; len(fields) > last {
			fields = append(slices.Clone(fields[:last]), strings.Join(fields[last:], " "))
		}
		resp.Processes = append(resp.Processes, fields)
	}
	if err := lines.Err(); err != nil {
		return container.TopResponse{}, fmt.Errorf("read the output of ps: %w", err)
	}
	return resp, nil
}

// asciiFields splits at the white space that ps writes between columns: a process
// may have other white space in its name, which must not shift the PID column.
func asciiFields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
}

// full is "ps -ef" for these processes. One that is gone meanwhile is left out.
func full(pids []int, now time.Time) (container.TopResponse, error) {
	resp := container.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}}
	boot, err := bootTime()
	if err != nil {
		return container.TopResponse{}, err
	}
	users := map[string]string{}
	if data, err := os.ReadFile("/etc/passwd"); err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(line, ":"); len(f) > 2 && users[f[2]] == "" {
				users[f[2]] = f[0]
			}
		}
	}
	for _, pid := range slices.Sorted(slices.Values(pids)) {
		p, err := readProcess(pid)
		if err != nil {
			continue
		}
		started := boot.Add(time.Duration(p.start) * tick)
		resp.Processes = append(resp.Processes, []string{
			userName(users, p.uid), strconv.Itoa(pid), p.ppid, strconv.Itoa(p.share(now.Sub(started))),
			startTime(started, now), p.terminal(), cpuTime(p.cpu), p.command,
		})
	}
	return resp, nil
}

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

type process struct {
	uid, ppid, command string
	tty                int
	// cpu and start are in ticks; start counts from the machine's boot.
	cpu, start uint64
}

// readProcess reads /proc/PID, see proc(5).
func readProcess(pid int) (process, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, err
	}
	p, comm, err := parseStat(string(stat))
	if err != nil {
		return p, fmt.Errorf("%s: %w", dir, err)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				p.uid = f[1]
			}
		}
	}
	cmdline, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, err
	}
	p.command = printable(strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " "))
	if p.command == "" {
		p.command = "[" + printable(comm) + "]"
	}
	return p, nil
}

// parseStat reads /proc/PID/stat. The name is in parentheses and may hold any character.
func parseStat(s string) (p process, comm string, err error) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return p, "", errors.New("stat has no name")
	}
	f := strings.Fields(s[end+1:])
	if len(f) < 20 { // field 22, starttime, is the last that is used
		return p, "", fmt.Errorf("stat has %d fields", len(f)+2)
	}
	p.ppid = f[1]
	tty, err1 := strconv.Atoi(f[4])
	user, err2 := strconv.ParseUint(f[11], 10, 64)
	system, err3 := strconv.ParseUint(f[12], 10, 64)
	start, err4 := strconv.ParseUint(f[19], 10, 64)
	p.tty, p.cpu, p.start = tty, user+system, start
	return p, s[open+1 : end], errors.Join(err1, err2, err3, err4)
}

// printable puts a question mark for each control character, as ps does.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// userName fits the column: what is longer than eight characters ends in a plus sign.
func userName(users map[string]string, uid string) string {
	name := users[uid]
	switch {
	case name == "":
		return uid
	case len(name) > 8:
		return name[:7] + "+"
	}
	return name
}

// share is the percentage of one processor over the process's life, up to 99.
func (p process) share(life time.Duration) int {
	if life <= 0 {
		return 0
	}
	return int(min(99, time.Duration(p.cpu)*tick*100/life))
}

// terminal names the controlling terminal by its device number: 136 to 143 are
// pseudo-terminals, 4 the consoles (Documentation/admin-guide/devices.txt).
func (p process) terminal() string {
	major, minor := p.tty>>8&0xfff, p.tty&0xff|p.tty>>12&0xfff00
	switch {
	case p.tty == 0:
		return "?"
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	}
	return "?"
}

func startTime(started, now time.Time) string {
	started, now = started.Local(), now.Local()
	switch {
	case started.Year() != now.Year():
		return started.Format("2006")
	case started.YearDay() != now.YearDay():
		return started.Format("Jan02")
	}
	return started.Format("15:04")
}

func cpuTime(ticks uint64) string {
	s := ticks / uint64(time.Second/tick)
	clock := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		return fmt.Sprintf("%d-%s", days, clock)
	}
	return clock
}

func bootTime() (time.Time, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return time.Unix(n, 0), err
		}
	}
	return time.Time{}, errors.New("/proc/stat has no btime")
}
