// Package hygiene checks the shape of the source tree: the direction of
// imports, sizes, package documentation, marks of unfinished work.
package hygiene
