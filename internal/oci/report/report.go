// Package report is what the OCI command line tells of containers and of
// itself: processes, counters, abilities.
package report
