// Package fsmtest drives a fsm.State in tests: a runner for scripts that read as stories (Run), and a seeded generator of entries
// (Generator) for properties that must hold whatever happens.
package fsmtest
