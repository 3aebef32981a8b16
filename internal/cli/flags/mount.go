package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// Mounts are --mount values.
type Mounts []mount.Mount

func (m *Mounts) String() string { return "" }

// Type names the value in help texts.
func (m *Mounts) Type() string { return "mount" }

// Set parses one mount: comma-separated key=value fields, quoted as in CSV.
func (m *Mounts) Set(value string) error {
	value = strings.TrimSpace(value)
	if value == "" {
		return errors.New("value is empty")
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return err
	}
	spec := mount.Mount{Type: mount.TypeVolume}
	for _, field := range fields {
		if err := setMountField(&spec, field); err != nil {
			return err
		}
	}
	if err := checkMount(&spec); err != nil {
		return err
	}
	*m = append(*m, spec)
	return nil
}

// flagFields are the fields that may stand without a value, for true.
var flagFields = map[string]bool{"readonly": true, "ro": true, "volume-nocopy": true, "bind-nonrecursive": true, "bind-create-src": true, "idmap": true}

func setMountField(spec *mount.Mount, field string) error {
	key, value, hasValue := strings.Cut(field, "=")
	if key == "" || strings.TrimSpace(key) != key {
		return fmt.Errorf("invalid option '%s' in '%s'", key, field)
	}
	key = strings.ToLower(key)
	if !hasValue && !flagFields[key] {
		return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
	}
	if hasValue && (value == "" || strings.TrimSpace(value) != value) {
		return fmt.Errorf("invalid value for '%s': value is empty or has leading or trailing spaces", key)
	}
	boolean := func(to *bool) error {
		if !hasValue {
			*to = true
			return nil
		}
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		*to = b
		return nil
	}
	switch key {
	case "type":
		spec.Type = mount.Type(strings.ToLower(value))
	case "source", "src":
		spec.Source = value
		if strings.HasPrefix(value, "."+string(filepath.Separator)) || value == "." {
			if abs, err := filepath.Abs(value); err == nil {
				spec.Source = abs
			}
		}
	case "target", "dst", "destination":
		spec.Target = value
	case "readonly", "ro":
		return boolean(&spec.ReadOnly)
	case "consistency":
		spec.Consistency = mount.Consistency(strings.ToLower(value))
	case "idmap":
		// Docker's API has no field for it, and its daemon no use for this one.
		var on bool
		if err := boolean(&on); err != nil || !on {
			return err
		}
		spec.Consistency = "idmap"
	case "bind-nonrecursive":
		return boolean(&bindOptions(spec).NonRecursive)
	case "bind-create-src":
		return boolean(&bindOptions(spec).CreateMountpoint)
	case "volume-nocopy":
		return boolean(&volumeOptions(spec).NoCopy)
	default:
		return setTypedField(spec, key, value, field)
	}
	return nil
}

func setTypedField(spec *mount.Mount, key, value, field string) error {
	switch key {
	case "bind-propagation":
		bindOptions(spec).Propagation = mount.Propagation(strings.ToLower(value))
	case "bind-recursive":
		return setRecursive(bindOptions(spec), value)
	case "volume-subpath":
		volumeOptions(spec).Subpath = value
	case "volume-driver":
		volumeDriver(spec).Name = value
	case "volume-label":
		addPair(&volumeOptions(spec).Labels, value)
	case "volume-opt":
		addPair(&volumeDriver(spec).Options, value)
	case "image-subpath":
		imageOptions(spec).Subpath = value
	case "tmpfs-size":
		size, err := units.RAMInBytes(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		tmpfsOptions(spec).SizeBytes = size
	case "tmpfs-mode":
		mode, err := strconv.ParseUint(value, 8, 32)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		tmpfsOptions(spec).Mode = os.FileMode(mode)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	return nil
}

func setRecursive(opt *mount.BindOptions, value string) error {
	switch value {
	case "enabled":
	case "disabled":
		opt.NonRecursive = true
	case "writable":
		opt.ReadOnlyNonRecursive = true
	case "readonly":
		opt.ReadOnlyForceRecursive = true
	default:
		return fmt.Errorf(`invalid value for bind-recursive: %s (must be "enabled", "disabled", "writable", or "readonly")`, value)
	}
	return nil
}

func checkMount(spec *mount.Mount) error {
	if spec.Type == "" {
		return errors.New("type is required")
	}
	if spec.Target == "" {
		return errors.New("target is required")
	}
	for _, part := range []struct {
		name string
		set  bool
		of   mount.Type
	}{
		{"volume", spec.VolumeOptions != nil, mount.TypeVolume},
		{"bind", spec.BindOptions != nil, mount.TypeBind},
		{"image", spec.ImageOptions != nil, mount.TypeImage},
		{"tmpfs", spec.TmpfsOptions != nil, mount.TypeTmpfs},
	} {
		if part.set && spec.Type != part.of {
			return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", part.name, spec.Type)
		}
	}
	if spec.Consistency == "idmap" && spec.Type != mount.TypeBind {
		return fmt.Errorf("cannot mix 'idmap' with mount type '%s'", spec.Type)
	}
	if b := spec.BindOptions; b != nil {
		if b.ReadOnlyNonRecursive && !spec.ReadOnly {
			return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
		}
		if b.ReadOnlyForceRecursive {
			if !spec.ReadOnly {
				return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
			}
			if b.Propagation != mount.PropagationRPrivate {
				return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
			}
		}
	}
	return nil
}

func bindOptions(spec *mount.Mount) *mount.BindOptions {
	if spec.BindOptions == nil {
		spec.BindOptions = &mount.BindOptions{}
	}
	return spec.BindOptions
}

func volumeOptions(spec *mount.Mount) *mount.VolumeOptions {
	if spec.VolumeOptions == nil {
		spec.VolumeOptions = &mount.VolumeOptions{}
	}
	return spec.VolumeOptions
}

func volumeDriver(spec *mount.Mount) *mount.Driver {
	opt := volumeOptions(spec)
	if opt.DriverConfig == nil {
		opt.DriverConfig = &mount.Driver{}
	}
	return opt.DriverConfig
}

func imageOptions(spec *mount.Mount) *mount.ImageOptions {
	if spec.ImageOptions == nil {
		spec.ImageOptions = &mount.ImageOptions{}
	}
	return spec.ImageOptions
}

func tmpfsOptions(spec *mount.Mount) *mount.TmpfsOptions {
	if spec.TmpfsOptions == nil {
		spec.TmpfsOptions = &mount.TmpfsOptions{}
	}
	return spec.TmpfsOptions
}

func addPair(to *map[string]string, pair string) {
	if *to == nil {
		*to = map[string]string{}
	}
	key, value, _ := strings.Cut(pair, "=")
	(*to)[key] = value
}
