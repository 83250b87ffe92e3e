// Command wordcount counts the words of Go files as one of many ranks. It is a plain program: it knows nothing of Muster, and learns
// who it is from RANK and WORLD_SIZE, and where rank 0 is from MASTER_ADDR and MASTER_PORT, as many training programs do.
//
// Each rank counts every nth file and brings its part to rank 0, which writes the sum as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	source := flag.String("source", ".", "directory whose Go files are counted")
	result := flag.String("result", "", "file for the sum, written by rank 0")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *source, *result); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, source, result string) error {
	rank, err1 := strconv.Atoi(os.Getenv("RANK"))
	ranks, err2 := strconv.Atoi(os.Getenv("WORLD_SIZE"))
	if err := errors.Join(err1, err2); err != nil || rank < 0 || rank >= ranks {
		return fmt.Errorf("RANK and WORLD_SIZE must say who this is: %w", err)
	}
	master := net.JoinHostPort(os.Getenv("MASTER_ADDR"), os.Getenv("MASTER_PORT"))
	fmt.Printf("rank %d of %d begins\n", rank, ranks)

	files, err := sourceFiles(source)
	if err != nil {
		return err
	}
	counts, err := countFiles(ctx, share(files, rank, ranks))
	if err != nil {
		return err
	}
	own := part{Rank: rank, Counts: counts}
	if rank != 0 {
		return bring(ctx, master, own)
	}
	if ranks > 1 {
		listener, err := net.Listen("tcp", master)
		if err != nil {
			return err
		}
		defer listener.Close()
		if counts, err = collect(ctx, listener, own, ranks); err != nil {
			return err
		}
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	fmt.Printf("%d words, %d different\n", counts.total(), len(counts))
	return os.WriteFile(filepath.Clean(result), text, 0o600)
}

// bring delivers the part, again while rank 0 does not listen yet.
func bring(ctx context.Context, address string, p part) error {
	for {
		err := deliver(ctx, address, p)
		if err == nil {
			return nil
		}
		fmt.Printf("again: %v\n", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
