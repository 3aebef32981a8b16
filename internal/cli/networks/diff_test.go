package networks

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func build(app *cli.App, root *cobra.Command) { root.AddCommand(Management(app)) }

func TestAsDocker(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const bridge = `{"Name":"bridge","Id":"` + id + `","Created":"2026-01-02T03:04:05.123456789Z","Scope":"local","Driver":"bridge",
		"EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]},
		"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"a":"b"},"Labels":{"x":"y"}}`
	routes := difftest.Routes{
		"GET /networks": {Body: `[` + bridge + `,{"Name":"net10","Id":"aa` + id[2:] + `","Driver":"bridge","Scope":"local","Internal":true,"Created":"2026-01-02T03:04:05Z","IPAM":{},"Labels":{}},
			{"Name":"net9","Id":"bb` + id[2:] + `","Driver":"null","Scope":"local","Created":"2026-01-02T03:04:05Z","IPAM":{},"Labels":null}]`},
		"GET /networks/bridge":        {Body: bridge},
		"GET /networks/gone":          {Status: 404, Body: `{"message":"network gone not found"}`},
		"DELETE /networks/net9":       {Status: 204},
		"DELETE /networks/gone":       {Status: 404, Body: `{"message":"network gone not found"}`},
		"DELETE /networks/bridge":     {Status: 403, Body: `{"message":"bridge is a pre-defined network and cannot be removed"}`},
		"POST /networks/create":       {Status: 201, Body: `{"Id":"` + id + `","Warning":""}`},
		"POST /networks/a/connect":    {Status: 200},
		"POST /networks/a/disconnect": {Status: 200},
		"POST /networks/no/connect":   {Status: 501, Body: `{"message":"user-defined networks are not there yet"}`},
		"POST /networks/prune":        {Body: `{"NetworksDeleted":["net9"]}`},
	}
	for _, args := range []string{
		"network ls", "network list", "network ls -q", "network ls --no-trunc", "network ls -f driver=bridge", "network ls --format json",
		"network ls --format {{.Name}}:{{.IPv6}}:{{.Internal}}:{{.Labels}}:{{.CreatedAt}}", "network ls -q --format {{.Name}}",
		"network inspect bridge", "network inspect bridge gone", "network inspect -f {{.Name}} bridge", "network inspect -v bridge",
		"network create n", "network create --subnet 10.1.0.0/16 --gateway 10.1.0.9 --ip-range 10.1.2.0/24 --aux-address h=10.1.0.3 n",
		"network create -d macvlan -o parent=eth0 --label a=b --internal --attachable --ipv6 n", "network create --ipv4=false n",
		"network create --gateway 10.1.0.1 n", "network create --subnet 10.1.0.0/16 --subnet 10.1.2.0/24 n", "network create --subnet 10.1.0.0/16 --gateway 10.2.0.1 n",
		"network connect a c", "network connect --ip 10.1.2.3 --alias x --link l:m --driver-opt a=b a c", "network connect --gw-priority 5 a c", "network connect no c",
		"network disconnect a c", "network disconnect -f a c", "network disconnect a",
		"network prune -f", "network prune -f --filter until=1h",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	t.Run("prune, yes", func(t *testing.T) { difftest.Compare(t, routes, build, "y\n", "network", "prune") })
	t.Run("prune, no", func(t *testing.T) { difftest.Compare(t, routes, build, "n\n", "network", "prune") })
}

// TestRemove compares no requests: docker asks first whether the network is a swarm's.
func TestRemove(t *testing.T) {
	routes := difftest.Routes{
		"DELETE /networks/net9":   {Status: 204},
		"DELETE /networks/gone":   {Status: 404, Body: `{"message":"network gone not found"}`},
		"DELETE /networks/bridge": {Status: 403, Body: `{"message":"bridge is a pre-defined network and cannot be removed"}`},
	}
	for _, test := range []struct {
		args, out, err string
		code           int
	}{
		{"network rm net9", "net9\n", "", 0},
		{"network remove gone net9", "net9\n", "Error response from daemon: network gone not found\n", 1},
		{"network rm -f gone net9", "net9\n", "", 0},
		{"network rm bridge", "", "Error response from daemon: bridge is a pre-defined network and cannot be removed\n", 1},
	} {
		t.Run(test.args, func(t *testing.T) {
			s := difftest.Serve(t, routes)
			got := s.Hoy(t, build, "", strings.Fields(test.args)...)
			if got.Out != test.out || got.Err != test.err || got.Code != test.code {
				t.Errorf("got %+v", got)
			}
			if want := s.Docker(t, "", strings.Fields(test.args)...); want.Out != got.Out || want.Code != got.Code {
				t.Errorf("docker: %+v", want)
			}
		})
	}
}
