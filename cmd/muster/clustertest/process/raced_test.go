//go:build race

package process

func init() { raced = true }
