package audit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	bolt "go.etcd.io/bbolt"

	"hoy/internal/durable"
)

// entries lists a directory; one that is absent is empty.
func entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return []string{err.Error()}
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names
}

func (c *comparison) directories() {
	c.same("directories of containers", c.ids, entries(c.Data+"/containers"))
	c.same("writable layers", c.ids, entries(c.Data+"/image/writable"))
	c.same("directories of volumes", c.volumes, entries(c.Data+"/volumes"))
	c.same("unfinished content", nil, entries(c.Data+"/image/content/ingest"))
	c.same("trash", nil, entries(c.Data+"/image/trash"))
	c.same("temporary files", nil, entries(c.Data+"/tmp"))
	for _, dir := range []string{"", "/image", "/image/overlayfs"} {
		for _, file := range entries(c.Data + dir) {
			if strings.HasPrefix(file, ".") {
				c.fault("unfinished file %s/%s", dir, file)
			}
		}
	}
	c.same("records of exits", nil, entries(c.Exec+"/exits"))
	for _, id := range c.ids {
		for _, file := range entries(filepath.Join(c.Data, "containers", id)) {
			if strings.HasSuffix(file, ".new") || strings.HasPrefix(file, ".") {
				c.fault("directory of %s: unfinished %s", c.containers[id].Name, file)
			}
		}
	}
}

// record is what is compared of a container's durable record.
type record struct {
	Seq   uint64
	ID    string
	Name  string
	State struct {
		Phase    string
		Pid      int
		ExitCode int
	}
}

// records compares both copies of each record with the API's answer.
func (c *comparison) records() {
	stored := map[string]record{}
	var volumes []string
	c.view("hoy.db", func(tx *bolt.Tx) {
		each(tx, func(k, v []byte) {
			var r record
			if err := unseal("containers/"+string(k), v, &r); err != nil {
				c.fault("stored record of %s: %v", k, err)
			}
			stored[string(k)] = r
		}, "containers")
		each(tx, func(k, _ []byte) { volumes = append(volumes, string(k)) }, "volumes")
	})
	var ids []string
	for id := range stored {
		ids = append(ids, id)
	}
	c.same("containers in the store", c.ids, ids)
	c.same("volumes in the store", c.volumes, volumes)
	for _, id := range c.ids {
		data, err := os.ReadFile(filepath.Join(c.Data, "containers", id, "record.json"))
		var r record
		if err == nil {
			err = unseal(id, data, &r)
		}
		if err != nil {
			c.fault("record of %s: %v", c.containers[id].Name, err)
			continue
		}
		if s := stored[id]; s != r {
			c.fault("record of %s: the file has %+v, the store %+v", r.Name, r, s)
		}
		said := c.containers[id]
		phase := container.ContainerState(r.State.Phase)
		if phase == container.StateExited && said.State.Status == container.StateCreated {
			phase = container.StateCreated // a start that failed
		}
		if r.ID != id || "/"+r.Name != said.Name || phase != said.State.Status || r.State.Pid != said.State.Pid || r.State.ExitCode != said.State.ExitCode {
			c.fault("record %+v, the API says %s %s, pid %d, code %d", r, said.Name, said.State.Status, said.State.Pid, said.State.ExitCode)
		}
	}
}

// unseal reads a record with the checksum behind it.
func unseal(context string, sealed []byte, r *record) error {
	data, err := durable.Unseal(context, sealed)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, r)
}

// view reads a copy of a store, as the engine holds the lock of its own.
func (c *comparison) view(name string, read func(*bolt.Tx)) {
	data, err := os.ReadFile(filepath.Join(c.Data, name))
	if err != nil {
		c.fault("store %s: %v", name, err)
		return
	}
	copied := filepath.Join(c.Temporary, "audit-"+filepath.Base(name))
	defer func() { _ = os.Remove(copied) }()
	if err := os.WriteFile(copied, data, 0o600); err != nil { //nolint:forbidigo // a copy to be read once
		c.fault("store %s: %v", name, err)
		return
	}
	db, err := bolt.Open(copied, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		c.fault("store %s: %v", name, err)
		return
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			c.fault("store %s: %v", name, err)
		}
		read(tx)
		return nil
	})
	if err != nil {
		c.fault("store %s: %v", name, err)
	}
}

// each visits the keys of a bucket that may be absent; a bucket below it has no value.
func each(tx *bolt.Tx, visit func(k, v []byte), path ...string) {
	b := tx.Bucket([]byte(path[0]))
	for _, p := range path[1:] {
		if b == nil {
			return
		}
		b = b.Bucket([]byte(p))
	}
	if b != nil {
		_ = b.ForEach(func(k, v []byte) error { visit(k, v); return nil })
	}
}
