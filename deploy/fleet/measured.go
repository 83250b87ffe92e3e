package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Measured runs a program that measures, shows what it prints, and reads the last line, which is JSON and is there also where the program
// finds its result bad. Once ctx has ended the program is asked to end, so that it leaves nothing behind, and killed if it does not soon.
func Measured(ctx context.Context, into any, program string, args ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killPatience
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stdout), os.Stderr
	ran := cmd.Run()
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], into); err != nil {
		return fmt.Errorf("the last line of %s %v: %w", program, args, errors.Join(ran, err))
	}
	return nil
}
