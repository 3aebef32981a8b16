package volumes

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func build(app *cli.App, root *cobra.Command) { root.AddCommand(Management(app)) }

func TestAsDocker(t *testing.T) {
	const one = `{"CreatedAt":"2026-01-02T03:04:05Z","Driver":"local","Labels":{"a":"1"},"Mountpoint":"/x/data/_data","Name":"data","Options":null,"Scope":"local"}`
	routes := difftest.Routes{
		"GET /volumes": {Body: `{"Volumes":[` + one + `,
			{"Name":"v10","Driver":"nfs","Scope":"global","Mountpoint":"","Labels":null,"Options":{}},
			{"Name":"v9","Driver":"local","Scope":"local","Mountpoint":"/m","Labels":{},"Options":{},"UsageData":{"Size":12345,"RefCount":2}}],"Warnings":null}`},
		"GET /volumes/data":      {Body: one},
		"GET /volumes/gone":      {Status: 404, Body: `{"message":"get gone: no such volume"}`},
		"POST /volumes/create":   {Status: 201, Body: one},
		"DELETE /volumes/data":   {Status: 204},
		"DELETE /volumes/v9":     {Status: 204},
		"DELETE /volumes/gone":   {Status: 404, Body: `{"message":"get gone: no such volume"}`},
		"DELETE /volumes/in-use": {Status: 409, Body: `{"message":"remove in-use: volume is in use - [abc]"}`},
		"POST /volumes/prune":    {Body: `{"VolumesDeleted":["v9","data"],"SpaceReclaimed":4096}`},
	}
	for _, args := range []string{
		"volume ls", "volume list", "volume ls -q", "volume ls -f dangling=true --filter label=a", "volume ls --format json",
		"volume ls --format {{.Name}}:{{.Scope}}:{{.Mountpoint}}:{{.Labels}}:{{.Size}}:{{.Links}}:{{.Group}}", "volume ls --format {{.Nope}}",
		"volume ls -q --format {{.Driver}}", "volume ls x",
		"volume create", "volume create data", "volume create --label x=y --label z data", "volume create -d local -o type=tmpfs -o o=size=5m data",
		"volume create --name data", "volume create --name data other", "volume create --label = x",
		"volume inspect data", "volume inspect gone", "volume inspect data gone", "volume inspect -f {{.Mountpoint}} data", "volume inspect --format {{.Labels.a}} data",
		"volume rm data v9", "volume rm gone data", "volume remove in-use", "volume rm -f gone", "volume rm",
		"volume prune -f", "volume prune -f -a", "volume prune -f --filter label=x", "volume prune -f -a --filter all=1", "volume prune -f --filter all=1",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	t.Run("prune, yes", func(t *testing.T) { difftest.Compare(t, routes, build, "y\n", "volume", "prune") })
	t.Run("prune all, no", func(t *testing.T) { difftest.Compare(t, routes, build, "n\n", "volume", "prune", "-a") })
	t.Run("prune, nothing", func(t *testing.T) {
		difftest.Compare(t, difftest.Routes{"POST /volumes/prune": {Body: `{"VolumesDeleted":null,"SpaceReclaimed":0}`}}, build, "", "volume", "prune", "-f")
	})
}
