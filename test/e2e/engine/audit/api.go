package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/container"
)

// answerTime bounds each answer of the API.
const answerTime = 20 * time.Second

// get reads an answer of the API into v.
func (c *comparison) get(client *http.Client, path string, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// ask collects what the engine says of itself.
func (c *comparison) ask() error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var list []struct {
		ID    string `json:"Id"`
		State string
		Names []string
	}
	var volumes struct{ Volumes []struct{ Name string } }
	var images []struct {
		ID       string `json:"Id"`
		RepoTags []string
	}
	for path, v := range map[string]any{"/containers/json?all=1": &list, "/volumes": &volumes, "/images/json?all=1": &images} {
		if err := c.get(client, path, v); err != nil {
			return err
		}
	}
	for _, l := range list {
		var r container.InspectResponse
		if err := c.get(client, "/containers/"+l.ID+"/json", &r); err != nil {
			return err
		}
		if r.State == nil || r.HostConfig == nil || r.NetworkSettings == nil {
			return fmt.Errorf("the answer on %s is incomplete", l.ID)
		}
		if string(r.State.Status) != l.State {
			c.fault("%s is %s in the list and %s by itself", r.Name, l.State, r.State.Status)
		}
		c.containers[r.ID] = r
	}
	for _, v := range volumes.Volumes {
		c.volumes = append(c.volumes, v.Name)
	}
	for _, i := range images {
		c.images = append(c.images, i.ID)
	}
	return nil
}
