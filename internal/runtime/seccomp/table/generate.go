//go:build ignore

// This program writes the system call numbers that golang.org/x/sys/unix knows
// into one text file an architecture.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		log.Fatal(err)
	}
	number := regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)$`)
	for _, arch := range []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "ppc", "ppc64", "riscv64", "s390x"} {
		source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			log.Fatal(err)
		}
		var b strings.Builder
		for _, m := range number.FindAllStringSubmatch(string(source), -1) {
			fmt.Fprintf(&b, "%s %s\n", strings.ToLower(m[1]), m[2])
		}
		if err := os.WriteFile(arch+".txt", []byte(b.String()), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
