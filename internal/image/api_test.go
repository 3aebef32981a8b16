package image_test

import (
	"hoy/internal/api/images"
	"hoy/internal/image"
)

var _ images.Backend = (*image.Service)(nil)
