package format

import "github.com/fvbommel/sortorder"

// CompareNames orders names for a list, numbers in them by value.
func CompareNames(a, b string) int {
	switch {
	case sortorder.NaturalLess(a, b):
		return -1
	case sortorder.NaturalLess(b, a):
		return 1
	}
	return 0
}
