package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/seccomp/table"
)

// carriers are the calls of older architectures that stand for many others,
// chosen by the first argument (linux/net.h, linux/ipc.h).
var carriers = map[string]map[string]uint64{
	"socketcall": {
		"socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "getsockname": 6, "getpeername": 7, "socketpair": 8,
		"send": 9, "recv": 10, "sendto": 11, "recvfrom": 12, "shutdown": 13, "setsockopt": 14, "getsockopt": 15,
		"sendmsg": 16, "recvmsg": 17, "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
	},
	"ipc": {
		"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
		"shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
	},
}

// place is a call number to which conditions apply.
type place struct {
	number uint32
	sets   [][]specs.LinuxSeccompArg
}

// places are where a call of that name arrives: at its own number, and at its
// carrier's where there is one. What the carried call is given lies behind a
// pointer there, which a filter cannot follow; as in libseccomp a condition on
// the first argument gives way to the choice of the call, and the others stay.
func places(arch table.Arch, name string, sets [][]specs.LinuxSeccompArg) []place {
	var list []place
	if n, ok := arch.Numbers[name]; ok {
		list = append(list, place{n, sets})
	}
	for carrier, calls := range carriers {
		number, has := arch.Numbers[carrier]
		choice, carried := calls[name]
		if !has || !carried {
			continue
		}
		which := specs.LinuxSeccompArg{Index: 0, Value: choice, Op: specs.OpEqualTo}
		behind := [][]specs.LinuxSeccompArg{}
		for _, set := range sets {
			own := []specs.LinuxSeccompArg{which}
			for _, a := range set {
				if a.Index != 0 {
					own = append(own, a)
				}
			}
			behind = append(behind, own)
		}
		if len(sets) == 0 {
			behind = append(behind, []specs.LinuxSeccompArg{which})
		}
		list = append(list, place{number, behind})
	}
	return list
}
