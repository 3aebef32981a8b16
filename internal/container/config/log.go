package config

import (
	"github.com/moby/moby/api/types/container"

	"hoy/internal/log"
	"hoy/internal/log/options"
)

func checkLog(c container.LogConfig) error {
	_, err := Log(c, "", "")
	return err
}

// Log translates the API's log configuration for the container of an id, in its directory.
func Log(c container.LogConfig, dir, id string) (log.Config, error) {
	out, err := options.Parse(c.Type, c.Config, dir, id)
	if err != nil {
		return out, invalid("%v", err)
	}
	return out, nil
}
