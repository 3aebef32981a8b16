package images

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func build(app *cli.App, root *cobra.Command) {
	root.AddCommand(Commands(app)...)
	root.AddCommand(Management(app))
}

const (
	idA = "sha256:aaaaaaaaaaaabbbbbbbbbbbbccccccccccccddddddddddddeeeeeeeeeeee0000"
	idB = "sha256:bbbbbbbbbbbbccccccccccccddddddddddddeeeeeeeeeeeeffffffffffff1111"
	idC = "sha256:ccccccccccccddddddddddddeeeeeeeeeeeeffffffffffff0000000000002222"
)

// ago gives a Unix time that is far enough in the past for both programs to say the same.
func ago(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

func listed() string {
	return fmt.Sprintf(`[
	{"Id":%q,"ParentId":"","Created":%d,"Size":4268012,"SharedSize":-1,"Containers":-1,"Labels":null,
	 "RepoTags":["busybox:latest","busybox:1.36"],
	 "RepoDigests":["busybox@%s"]},
	{"Id":%q,"ParentId":"","Created":%d,"Size":123456789,"SharedSize":-1,"Containers":-1,"Labels":{"a":"b"},"RepoTags":[],"RepoDigests":[]},
	{"Id":%q,"ParentId":"","Created":%d,"Size":999,"SharedSize":-1,"Containers":-1,"Labels":null,"RepoTags":["registry.example:5000/team/debian:12"],"RepoDigests":["registry.example:5000/team/debian@%s"]}]`,
		idA, ago(50*time.Hour), idA, idB, ago(3*time.Minute+20*time.Second), idC, ago(900*24*time.Hour), idC)
}

func TestListAsDocker(t *testing.T) {
	routes := difftest.Routes{"GET /images/json": {Body: listed()}}
	for _, args := range []string{
		"images", "image ls", "image list", "images -a", "images -q", "images --no-trunc", "images -q --no-trunc", "images --digests",
		"images --filter dangling=true --filter label=a=b -f before=busybox", "images debian", "images debian:* -a",
		"images --format json", "images --format {{.ID}}|{{.Repository}}:{{.Tag}}|{{.Size}}|{{.CreatedSince}}|{{.CreatedAt}}",
		"images --format {{.Digest}}", "images --format table", "images --format {{.Nope}}", "images --format {{.ID",
		"images --filter wrong", "images a b", "images --nope", "image nope",
		"images --digests --format json", "images -q --format {{.Tag}}",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	t.Run("table template", func(t *testing.T) {
		difftest.Compare(t, routes, build, "", "images", "--format", `table {{.Repository}}\t{{.Tag}}\t{{.Size}}`)
	})
	t.Run("only a digest", func(t *testing.T) {
		body := `[{"Id":"` + idA + `","Created":1,"Size":5,"RepoTags":null,"RepoDigests":["debian@` + idA + `"]}]`
		for _, args := range []string{"images", "images --digests", "images -q"} {
			difftest.Compare(t, difftest.Routes{"GET /images/json": {Body: body}}, build, "", strings.Fields(args)...)
		}
	})
	t.Run("none", func(t *testing.T) {
		difftest.Compare(t, difftest.Routes{"GET /images/json": {Body: `[]`}}, build, "", "images")
	})
	t.Run("refused", func(t *testing.T) {
		difftest.Compare(t, difftest.Routes{"GET /images/json": {Status: 400, Body: `{"message":"invalid filter 'x'"}`}}, build, "", "images", "-f", "x=y")
	})
}

func TestHistoryAsDocker(t *testing.T) {
	routes := difftest.Routes{"GET /images/debian/history": {Body: fmt.Sprintf(`[
	{"Id":%q,"Created":%d,"CreatedBy":"/bin/sh -c apt-get update \t&& apt-get install -y nginx # and a long tail","Size":55123456,"Comment":"x","Tags":["debian:latest"]},
	{"Id":"<missing>","Created":%d,"CreatedBy":"CMD [\"bash\"]","Size":0,"Comment":"buildkit.dockerfile.v0","Tags":null},
	{"Id":"<missing>","Created":0,"CreatedBy":"","Size":12,"Comment":"","Tags":null}]`, idA, ago(26*time.Hour), ago(400*24*time.Hour))}}
	for _, args := range []string{
		"history debian", "image history debian", "history --no-trunc debian", "history -q debian", "history -H=false debian",
		"history --human=false debian",
		"history --format json debian", "history --format {{.ID}}:{{.CreatedAt}}:{{.CreatedSince}}:{{.Comment}} debian",
		"history nope", "history", "history --platform linux/arm64 debian", "history --platform li?nux debian",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
}

func TestRemoveAsDocker(t *testing.T) {
	routes := difftest.Routes{
		"DELETE /images/a":    {Body: `[{"Untagged":"a:latest"},{"Untagged":"a@` + idA + `"},{"Deleted":"` + idA + `"}]`},
		"DELETE /images/b":    {Body: `[{"Untagged":"b:latest"}]`},
		"DELETE /images/gone": {Status: 404, Body: `{"message":"No such image: gone:latest"}`},
		"DELETE /images/used": {Status: 409, Body: `{"message":"conflict: unable to remove repository reference \"used\" (must force) - container 1 is using its referenced image 2"}`},
	}
	for _, args := range []string{
		"rmi a b", "image rm a", "image remove b", "rmi -f a", "rmi --no-prune a", "rmi gone a", "rmi -f gone a", "rmi -f gone used a",
		"rmi used b", "rmi", "rmi --platform linux/amd64 a", "rmi --platform ! a",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
}

func TestTagAndInspectAsDocker(t *testing.T) {
	routes := difftest.Routes{
		"POST /images/a/tag":    {Status: 201},
		"POST /images/gone/tag": {Status: 404, Body: `{"message":"No such image: gone:latest"}`},
		"GET /images/a/json":    {Body: `{"Id":"` + idA + `","RepoTags":["a:latest"],"Config":{"Env":["A=<b>&c"],"Cmd":["sh"]},"New":{"Field":1},"Size":5}`},
		"GET /images/gone/json": {Status: 404, Body: `{"message":"No such image: gone"}`},
	}
	for _, args := range []string{
		"tag a b", "tag a registry.example/x:1", "tag gone b", "tag a UPPER", "tag a", "tag a b:c:d", "image tag a b@" + idA,
		"image inspect a", "image inspect a gone", "image inspect gone", "image inspect", "image inspect --format {{.Id}} a",
		"image inspect --format {{.ID}} a",
		"image inspect --format {{json.Config}} a", "image inspect -f {{.New.Field}} a", "image inspect -f {{.Nope}} a", "image inspect -f json a",
		"image inspect --platform linux/arm64/v8 a",
	} {
		t.Run(args, func(t *testing.T) {
			list := strings.Fields(args)
			for i := range list {
				list[i] = strings.Replace(list[i], "{{json.", "{{json .", 1)
			}
			difftest.Compare(t, routes, build, "", list...)
		})
	}
}

const pulled = `{"status":"Pulling from library/a","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"}
{"status":"Downloading","progressDetail":{"current":10,"total":20},"progress":"[=>] 10B/20B","id":"0123456789ab"}
{"status":"Download complete","progressDetail":{},"id":"0123456789ab"}
{"status":"Pull complete","progressDetail":{},"id":"0123456789ab"}
{"status":"Digest: ` + idA + `"}
{"status":"Status: Downloaded newer image for a:latest"}
`

func TestTransferAsDocker(t *testing.T) {
	routes := difftest.Routes{
		"POST /images/create": {Body: pulled},
		"POST /images/docker.io/library/a/push": {Body: `{"status":"The push refers to repository [docker.io/library/a]"}
{"status":"Preparing","progressDetail":{},"id":"0123456789ab"}
{"status":"Pushing","progressDetail":{"current":10,"total":20},"progress":"[=>] 10B/20B","id":"0123456789ab"}
{"status":"Pushed","progressDetail":{},"id":"0123456789ab"}
{"status":"latest: digest: ` + idA + ` size: 528"}
{"progressDetail":{},"aux":{"Tag":"latest","Digest":"` + idA + `","Size":528}}
`},
		"POST /images/registry.example/denied/push": {Body: `{"status":"The push refers to repository [registry.example/denied]"}
{"errorDetail":{"message":"denied: requested access to the resource is denied"},"error":"denied: requested access to the resource is denied"}
`},
	}
	for _, args := range []string{
		"pull a", "pull a:1", "pull -q a", "pull -a a", "pull -a a:1", "pull A", "pull a@" + idA, "pull --platform linux/arm64 a",
		"pull registry.example:5000/x/y:z", "pull", "image pull a",
		"push a", "push -q a", "push a:1", "push -a a", "push -a a:1", "push registry.example/denied", "push A", "push -q registry.example/denied:1",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	failing := difftest.Routes{"POST /images/create": {Body: `{"status":"Pulling from library/a","id":"latest"}
{"errorDetail":{"message":"toomanyrequests: slow down"},"error":"toomanyrequests: slow down"}
`}}
	t.Run("error in stream", func(t *testing.T) { difftest.Compare(t, failing, build, "", "pull", "a") })
	denied := difftest.Routes{"POST /images/create": {Status: http.StatusNotFound, Body: `{"message":"pull access denied for a, repository does not exist or may require 'docker login'"}`}}
	t.Run("error status", func(t *testing.T) { difftest.Compare(t, denied, build, "", "pull", "a") })
}

func TestSearchAsDocker(t *testing.T) {
	routes := difftest.Routes{"GET /images/search": {Body: `[
	{"name":"nginx","description":"Official build of Nginx, which is a web server\nand more than that.","star_count":20000,"is_official":true,"is_automated":false},
	{"name":"bitnami/nginx","description":"<b>","star_count":200,"is_official":false,"is_automated":true}]`}}
	for _, args := range []string{
		"search nginx", "search --no-trunc nginx", "search --limit 5 --filter is-official=true nginx", "search --format {{.Name}}:{{.StarCount}}:{{.IsOfficial}} nginx",
		"search --format json nginx", "search UPPER", "search", "search a b",
	} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	refused := difftest.Routes{"GET /images/search": {Status: 501, Body: `{"message":"searching is not implemented"}`}}
	t.Run("refused", func(t *testing.T) { difftest.Compare(t, refused, build, "", "search", "x") })
}

func TestPruneAsDocker(t *testing.T) {
	routes := difftest.Routes{"POST /images/prune": {Body: `{"ImagesDeleted":[{"Untagged":"a:latest"},{"Deleted":"` + idA + `"}],"SpaceReclaimed":1234567}`}}
	for _, args := range []string{"image prune -f", "image prune -a -f", "image prune -f --filter until=24h --filter label!=x", "image prune x"} {
		t.Run(args, func(t *testing.T) { difftest.Compare(t, routes, build, "", strings.Fields(args)...) })
	}
	for _, answer := range []string{"y\n", "n\n", "\n", "Y\n"} {
		t.Run("answer "+answer, func(t *testing.T) { difftest.Compare(t, routes, build, answer, "image", "prune") })
		t.Run("all, answer "+answer, func(t *testing.T) { difftest.Compare(t, routes, build, answer, "image", "prune", "-a") })
	}
	t.Run("nothing", func(t *testing.T) {
		difftest.Compare(t, difftest.Routes{"POST /images/prune": {Body: `{"ImagesDeleted":null,"SpaceReclaimed":0}`}}, build, "", "image", "prune", "-f")
	})
}
