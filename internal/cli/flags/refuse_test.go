package flags

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestRefusals has the words of the docker command line, which the tests of
// package containers compare with where it is installed.
func TestRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"-m x":                                  `invalid argument "x" for "-m, --memory" flag: invalid size: 'x'`,
		"--memory-swap -2":                      `invalid argument "-2" for "--memory-swap" flag: invalid size: '-2'`,
		"--cpus x":                              `failed to parse x as a rational number`,
		"--cpus 1e99":                           `failed to parse 1e99 as a rational number`,
		"--cpus 1.0000000001":                   `value is too precise`,
		"--cpus 99999999999999999":              `value is out of range`,
		"-a x":                                  `valid streams are STDIN, STDOUT and STDERR`,
		"--ulimit nofile=5:1":                   `ulimit soft limit must be less than or equal to hard limit: 5 > 1`,
		"--mount x":                             `invalid field 'x' must be a key=value pair`,
		"--mount type=bind,src=/a":              `target is required`,
		"--mount type=bind,dst=/a,tmpfs-size=1": `cannot mix 'tmpfs-*' options with mount type 'bind'`,
		"--mount dst=/a,ro=maybe":               `invalid value for ro: maybe`,
		"--mount dst=/a,nope=1":                 `unexpected key 'nope' in 'nope=1'`,
		"-v a:b:c:d":                            `invalid spec: a:b:c:d: too many colons`,
		"-v ::":                                 `invalid spec: ::: empty section between colons`,
		"-p x":                                  `invalid containerPort: x`,
		"-p 80/foo":                             `invalid proto: foo`,
		"-p target=x":                           `invalid target port (x): value must be an integer`,
		"--expose 1:2":                          `invalid port format for --expose: 1:2`,
		"--pid x":                               `--pid: invalid PID mode`,
		"--uts x":                               `--uts: invalid UTS mode`,
		"--userns x":                            `--userns: invalid USER mode`,
		"--cgroupns x":                          `--cgroupns: invalid CGROUP mode`,
		"--memory-swappiness 101":               `invalid value: 101. Valid memory swappiness range is 0-100`,
		"--restart x:y":                         `invalid restart policy format: maximum retry count must be an integer`,
		"--restart always --rm":                 `conflicting options: cannot specify both --restart and --rm`,
		"--security-opt x":                      `Invalid --security-opt: "x"`,
		"--sysctl x=y":                          `sysctl 'x=y' is not allowed`,
		"--device a:b:z":                        `bad mode specified: z`,
		"--device-cgroup-rule x":                `invalid device cgroup format 'x'`,
		"--device-read-bps /x:1":                `bad format for device path: /x:1`,
		"--blkio-weight-device /dev/x:5":        `invalid weight for device: /dev/x:5`,
		"--add-host x":                          `bad format for add-host: "x"`,
		"--add-host x:y":                        `invalid IP address in add-host: "y"`,
		"--dns x":                               `IP address is not correctly formatted: x`,
		"--dns-search -":                        `- is not a valid domain`,
		"--link a:b:c":                          `bad format for links: a:b:c`,
		"-e =x":                                 `invalid environment variable: =x`,
		"-l =x":                                 `invalid label '=x': empty name`,
		"--gpus all":                            `GPUs are not supported`,
		"--network a --network a":               `network "a" is specified multiple times`,
		"--network a --network host":            `cannot attach both user-defined and non-user-defined network-modes`,
		"--network alias=y":                     `network name/id is not specified`,
		"--network a --ip 1.2.3":                `invalid IPv4 address: 1.2.3`,
		"--network a --mac-address x":           `x is not a valid mac address`,
		"--no-healthcheck --health-cmd x":       `--no-healthcheck conflicts with --health-* options`,
		"--health-interval -5s":                 `--health-interval cannot be negative`,
		"--log-driver none --log-opt a=b":       `invalid logging opts for driver none`,
		"--env-file /nonexistent":               `open /nonexistent: no such file or directory`,
		"--isolation hyperv":                    `invalid isolation "hyperv"`,
	} {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		fs.SetOutput(io.Discard)
		c := New(fs)
		err := fs.Parse(strings.Fields(line))
		if err == nil {
			_, err = c.Spec(fs)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}
