package containers

import (
	"strings"
	"testing"

	"hoy/internal/cli/difftest"
)

const (
	idA = "aaaaaaaaaaaabbbbbbbbbbbbccccccccccccddddddddddddeeeeeeeeeeeeffff"
	idB = "bbbbbbbbbbbbaaaaaaaaaaaaccccccccccccddddddddddddeeeeeeeeeeeeffff"

	psBody = `[{"Id":"` + idA + `","Names":["/web","/other/alias"],"Image":"nginx:1","ImageID":"sha256:1234567890ab1234","Command":"/docker-entrypoint.sh nginx -g 'daemon off;'",
"Created":1700000000,"Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
{"IP":"0.0.0.0","PrivatePort":81,"PublicPort":8081,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"},{"PrivatePort":444,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"},
{"IP":"127.0.0.1","PrivatePort":90,"PublicPort":9000,"Type":"udp"}],"Labels":{"b":"2","com.x.role-name":"front","a":"1"},"State":"running","Status":"Up 2 hours",
"SizeRw":12345,"SizeRootFs":123456789,"HostConfig":{"NetworkMode":"default"},"NetworkSettings":{"Networks":{"bridge":{}}},
"Mounts":[{"Type":"volume","Name":"data-with-a-very-long-name","Source":"/x","Destination":"/d","Driver":"local"},{"Type":"bind","Source":"/a/very/long/source/path","Destination":"/e"}]},
{"Id":"` + idB + `","Names":["/tiny_ant"],"Image":"sha256:1234567890ab1234","ImageID":"sha256:1234567890ab1234","Command":"sh","Created":1600000000,"Ports":[],"Labels":null,"State":"exited","Status":"Exited (0) 3 weeks ago",
"HostConfig":{},"NetworkSettings":{"Networks":{"none":{}}},"Mounts":[]},
{"Id":"cccc","Names":["/c"],"Image":"repo/app@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff","ImageID":"sha256:99","Command":"","Created":1600000000,"Ports":[{"PrivatePort":1,"Type":"tcp"},{"PrivatePort":2,"Type":"tcp"},{"PrivatePort":2,"Type":"udp"}],"State":"created","Status":"Created"}]`

	inspectBody = `{"Id":"` + idA + `","Name":"/web","Config":{"Tty":false,"OpenStdin":true,"Image":"nginx","Labels":{"a":"<b>&"}},"State":{"Running":true,"Pid":77,"Status":"running"},
"HostConfig":{"NetworkMode":"default"},"NewerField":{"x":1},
"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],"53/udp":[{"HostIp":"127.0.0.1","HostPort":"5353"}],"443/tcp":null},"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}`
	noSuch = `{"message":"No such container: nope"}`
)

// frame is one piece of output as the daemon frames it.
func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
}

func routes() difftest.Routes {
	missing := difftest.Answer{Status: 404, Body: noSuch}
	empty := difftest.Answer{Status: 204}
	return difftest.Routes{
		"GET /containers/json":             {Body: psBody},
		"GET /containers/web/json":         {Body: inspectBody},
		"GET /containers/" + idA + "/logs": {Body: frame(1, "out\n") + frame(2, "err\n")},
		"GET /containers/web/logs":         {Body: frame(1, "out\n") + frame(2, "err\n")},
		"GET /containers/nope/json":        missing,
		"GET /images/nope/json":            {Status: 404, Body: `{"message":"No such image: nope"}`},
		"GET /networks/nope":               {Status: 404, Body: `{"message":"network nope not found"}`},
		"GET /volumes/nope":                {Status: 404, Body: `{"message":"get nope: no such volume"}`},
		"GET /containers/web/top":          {Body: `{"Titles":["UID","PID","CMD"],"Processes":[["root","7","nginx: master process"],["www","12345","nginx"]]}`},
		"GET /containers/web/changes":      {Body: `[{"Path":"/a","Kind":0},{"Path":"/a/b","Kind":1},{"Path":"/c","Kind":2}]`},
		"GET /containers/nope/changes":     missing,
		"GET /containers/web/stats": {Body: `{"id":"` + idA + `","name":"/web","read":"2024-01-01T00:00:01Z","preread":"2024-01-01T00:00:00Z","os_type":"linux",
"cpu_stats":{"cpu_usage":{"total_usage":500000000},"system_cpu_usage":10000000000,"online_cpus":4},"precpu_stats":{"cpu_usage":{"total_usage":100000000},"system_cpu_usage":6000000000,"online_cpus":4},
"memory_stats":{"usage":104857600,"limit":1073741824,"stats":{"total_inactive_file":4857600}},"pids_stats":{"current":5},
"networks":{"eth0":{"rx_bytes":1234567,"tx_bytes":7654}},"blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"write","value":123456}]}}`},
		"POST /containers/web/stop": empty, "POST /containers/db/stop": {Status: 304}, "POST /containers/nope/stop": missing,
		"POST /containers/web/kill": empty, "POST /containers/nope/kill": missing,
		"POST /containers/web/restart": empty, "POST /containers/web/pause": empty, "POST /containers/web/unpause": empty,
		"POST /containers/nope/pause": missing, "POST /containers/nope/start": missing, "POST /containers/web/start": empty,
		"POST /containers/web/rename": empty, "POST /containers/nope/rename": missing,
		"POST /containers/web/wait": {Body: `{"StatusCode":3}`}, "POST /containers/nope/wait": missing,
		"POST /containers/web/update": {Body: `{"Warnings":["careful"]}`}, "POST /containers/nope/update": missing,
		"DELETE /containers/web": empty, "DELETE /containers/nope": missing,
		"DELETE /containers/busy": {Status: 409, Body: `{"message":"cannot remove container \"/busy\": container is running: stop the container before removing or force remove"}`},
		"POST /containers/prune":  {Body: `{"ContainersDeleted":["` + idB + `"],"SpaceReclaimed":123456}`},
		"POST /commit":            {Status: 201, Body: `{"Id":"sha256:feed"}`},
	}
}

func TestVerbsAsDocker(t *testing.T) {
	for _, line := range []string{
		"ps", "ps -a", "ps -q", "ps -aq --no-trunc", "ps --no-trunc", "ps -s", "ps -l", "ps -n 3", "ps --format json", "container ls", "container ps -q",
		"ps --format '{{.ID}}: {{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Status}} {{.Networks}} {{.LocalVolumes}} {{.Mounts}} {{.Labels}}'",
		`ps --format 'table {{.Names}}\t{{.Ports}}'`, "ps --format table", "ps --format '{{.Label \"com.x.role-name\"}}'", `ps --format 'table {{.ID}}\t{{.Label "com.x.role-name"}}'`,
		"ps --format '{{json .Names}} {{upper .State}} {{title .State}} {{pad .ID 1 2}} {{truncate .Image 3}} {{join (split .Names \"e\") \"-\"}}'",
		"ps --format '{{.Size}}'", "ps -q --format '{{.Names}}'", "ps --format '{{json .}}'", "ps -f status=exited --filter label=a=b -f name=x",
		"ps --format '{{.RunningFor}}'", "ps --no-trunc --format '{{.Mounts}} {{.Image}}'",
		"top web", "top web -o pid", "diff web", "diff nope", "port web", "port web 80", "port web 53/udp", "port nope", "port web 1",
		"inspect web", "container inspect nope", "container inspect web", "inspect -f '{{.State.Pid}} {{.Config.Image}}' web",
		"inspect -f '{{json .Config.Labels}}' web", "inspect --format '{{.NewerField.x}}' web", "inspect -f json web", "inspect --type container nope", "inspect --type image nope",
		"inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}' web",
		"stop web", "stop -t 3 -s INT db", "stop nope", "kill web", "kill -s HUP nope", "restart -t 0 web",
		"pause web", "pause nope", "unpause web", "rename web x", "rename nope x", "wait web", "wait nope", "update -m 64m web", "update --restart always nope",
		"rm web", "rm -fv web", "rm -l web", "rm nope", "rm -f nope", "rm busy", "start web", "start nope", "start web nope",
		"commit web", "commit -m msg -a me -c 'CMD x' -p=false web repo/x:1", "container prune -f", "container prune -f --filter until=24h",
		"logs nope",
	} {
		t.Run(line, func(t *testing.T) { difftest.Compare(t, routes(), build, "", words(line)...) })
	}
	t.Run("prune asks", func(t *testing.T) { difftest.Compare(t, routes(), build, "y\n", "container", "prune") })
	t.Run("prune takes no for an answer", func(t *testing.T) { difftest.Compare(t, routes(), build, "n\n", "container", "prune") })
}

// TestOutputAsDocker compares what is written alone: the client library spells a
// question differently, or questions are asked side by side.
func TestOutputAsDocker(t *testing.T) {
	s := difftest.Serve(t, routes())
	for _, line := range []string{
		"stats --no-stream web", "stats --no-stream --no-trunc web", "stats nope", "stats web nope", "stop web nope", "rm web nope busy",
		"stats --no-stream --format '{{.Container}} {{.CPUPerc}} {{.MemPerc}} {{.PIDs}}' web",
	} {
		want, got := s.Docker(t, "", words(line)...), s.Hoy(t, build, "", words(line)...)
		if got.Out != want.Out || got.Code != want.Code {
			t.Errorf("%s:\n%s\ndocker:\n%s", line, got.Out, want.Out)
		}
	}
}

// TestInspectLooksEverywhere has no counterpart: docker asks for plugins too.
func TestInspectLooksEverywhere(t *testing.T) {
	s := difftest.Serve(t, routes())
	got := s.Hoy(t, build, "", "inspect", "nope", "web")
	if got.Code != 1 || got.Err != "Error: No such object: nope\n" || !strings.HasPrefix(got.Out, "[\n    {\n        \"Id\": \"aaaa") {
		t.Errorf("%+v", got)
	}
	if got := s.Hoy(t, build, "", "inspect", "nope"); got.Out != "[]\n" || got.Code != 1 {
		t.Errorf("%+v", got)
	}
}

func TestLogs(t *testing.T) {
	s := difftest.Serve(t, routes())
	got := s.Hoy(t, build, "", "logs", "-f", "-t", "--tail", "5", "--since", "1h", "--details", "web")
	if got.Out != "out\n" || got.Err != "err\n" || got.Code != 0 {
		t.Errorf("%+v", got)
	}
	if want := "GET /containers/" + idA + "/logs?details=1&follow=1"; !strings.HasPrefix(got.Asked[1], want) {
		t.Errorf("asked %s, want %s", got.Asked[1], want)
	}
	got = s.Hoy(t, build, "", "logs", "web", "nope")
	if got.Out != "web   | out\n" || got.Code != 1 || !strings.Contains(got.Err, "web   | err\n") || !strings.Contains(got.Err, "No such container: nope") {
		t.Errorf("%+v", got)
	}
}
