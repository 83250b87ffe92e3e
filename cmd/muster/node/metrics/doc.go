// Package metrics gives a node's numbers the names and units by which Prometheus knows them. It alone knows Prometheus: the other
// packages keep plain numbers, which are read here at a scrape, and tell of what has to be measured where it happens.
//
// deploy/metrics.md lists every name; a test compares the two.
package metrics
