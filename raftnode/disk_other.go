//go:build !unix

package raftnode

import "errors"

// freeBytes is not known here: the watermark has no effect.
func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
