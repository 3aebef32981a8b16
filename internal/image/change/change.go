// Package change applies Dockerfile instructions to an image's configuration,
// as the --change option of import and commit takes them.
//
// The grammar is the Dockerfile reference's: CMD, ENTRYPOINT, ENV, EXPOSE,
// HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME
// and WORKDIR. Variables ($NAME, ${NAME}, ${NAME:-word}, ${NAME:+word}) are
// those of the configuration's environment.
package change

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// maxLine bounds one instruction, in bytes.
const maxLine = 1 << 20

// Apply changes cfg by each instruction in turn. One that cannot be read is
// errdefs.ErrInvalidArgument and says which and why; cfg is then half changed.
func Apply(cfg *container.Config, lines []string) error {
	for _, line := range lines {
		if err := apply(cfg, line); err != nil {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid change %q: %v", shorten(line), err))
		}
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

type instruction func(cfg *container.Config, args string) error

var instructions map[string]instruction

func init() {
	// Not a composite literal: onbuild looks instructions up in this table.
	instructions = map[string]instruction{
		"CMD": cmd, "ENTRYPOINT": entrypoint, "ENV": env, "EXPOSE": expose, "HEALTHCHECK": healthcheck,
		"LABEL": label, "ONBUILD": onbuild, "SHELL": shell, "STOPSIGNAL": stopSignal,
		"USER": user, "VOLUME": volume, "WORKDIR": workdir,
	}
}

func apply(cfg *container.Config, line string) error {
	if len(line) > maxLine {
		return fmt.Errorf("longer than %d bytes", maxLine)
	}
	line = joinLines(line)
	if line == "" {
		return nil
	}
	name, args := cutWord(line)
	run, ok := instructions[strings.ToUpper(name)]
	if !ok {
		return fmt.Errorf("%s is not a valid change command", strings.ToLower(name))
	}
	if args == "" {
		return fmt.Errorf("%s needs an argument", strings.ToUpper(name))
	}
	return run(cfg, args)
}

// joinLines puts continued lines together and drops comments between them.
func joinLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if rest, ok := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); ok {
			b.WriteString(rest)
			continue
		}
		b.WriteString(line)
	}
	return strings.TrimSpace(b.String())
}

func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func cmd(cfg *container.Config, args string) (err error) {
	cfg.Cmd, err = command(cfg, args)
	return err
}

func entrypoint(cfg *container.Config, args string) (err error) {
	cfg.Entrypoint, err = command(cfg, args)
	return err
}

// command reads the JSON form as it is and puts the shell form behind the shell.
func command(cfg *container.Config, args string) ([]string, error) {
	if list, ok := jsonList(args); ok {
		return list, nil
	}
	return append(defaultShell(cfg), args), nil
}

func defaultShell(cfg *container.Config) []string {
	if len(cfg.Shell) > 0 {
		return slices.Clone(cfg.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

func shell(cfg *container.Config, args string) error {
	list, ok := jsonList(args)
	if !ok || len(list) == 0 {
		return fmt.Errorf(`SHELL must be in JSON form, as ["/bin/bash","-c"]`)
	}
	cfg.Shell = list
	return nil
}

func env(cfg *container.Config, args string) error {
	pairs, err := keyValues(cfg, "ENV", args)
	if err != nil {
		return err
	}
	for _, kv := range pairs {
		if kv[0] == "" {
			return fmt.Errorf("ENV names can not be blank")
		}
		set := kv[0] + "=" + kv[1]
		i := slices.IndexFunc(cfg.Env, func(e string) bool { return strings.HasPrefix(e, kv[0]+"=") || e == kv[0] })
		if i < 0 {
			cfg.Env = append(slices.Clip(cfg.Env), set)
			continue
		}
		cfg.Env = slices.Clone(cfg.Env)
		cfg.Env[i] = set
	}
	return nil
}

func label(cfg *container.Config, args string) error {
	pairs, err := keyValues(cfg, "LABEL", args)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for k, v := range cfg.Labels {
		labels[k] = v
	}
	for _, kv := range pairs {
		if kv[0] == "" {
			return fmt.Errorf("LABEL names can not be blank")
		}
		labels[kv[0]] = kv[1]
	}
	cfg.Labels = labels
	return nil
}

func expose(cfg *container.Config, args string) error {
	list, err := words(cfg, args)
	if err != nil {
		return err
	}
	return addPorts(cfg, list)
}

func user(cfg *container.Config, args string) error {
	one, err := oneWord(cfg, "USER", args)
	if err == nil {
		cfg.User = one
	}
	return err
}

func workdir(cfg *container.Config, args string) error {
	dir, err := value(cfg, args)
	if err != nil {
		return err
	}
	if dir == "" {
		return fmt.Errorf("WORKDIR needs a directory")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", cfg.WorkingDir, dir)
	}
	cfg.WorkingDir = path.Clean(dir)
	return nil
}

func volume(cfg *container.Config, args string) error {
	list, ok := jsonList(args)
	if !ok {
		var err error
		if list, err = words(cfg, args); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("VOLUME needs a directory")
	}
	volumes := map[string]struct{}{}
	for v := range cfg.Volumes {
		volumes[v] = struct{}{}
	}
	for _, v := range list {
		if v = strings.TrimSpace(v); v == "" {
			return fmt.Errorf("VOLUME specified can not be an empty string")
		}
		volumes[v] = struct{}{}
	}
	cfg.Volumes = volumes
	return nil
}

func stopSignal(cfg *container.Config, args string) error {
	one, err := oneWord(cfg, "STOPSIGNAL", args)
	if err != nil {
		return err
	}
	if !validSignal(one) {
		return fmt.Errorf("invalid signal: %s", one)
	}
	cfg.StopSignal = one
	return nil
}

func onbuild(cfg *container.Config, args string) error {
	name, rest := cutWord(args)
	switch name = strings.ToUpper(name); name {
	case "ONBUILD":
		return fmt.Errorf("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "FROM", "MAINTAINER":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", name)
	}
	_, known := instructions[name]
	if !known && !slices.Contains([]string{"RUN", "COPY", "ADD", "ARG"}, name) {
		return fmt.Errorf("unknown instruction: %s", name)
	}
	if rest == "" {
		return fmt.Errorf("ONBUILD %s needs an argument", name)
	}
	cfg.OnBuild = append(slices.Clip(cfg.OnBuild), name+" "+rest)
	return nil
}
