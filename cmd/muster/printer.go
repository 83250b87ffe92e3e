package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// printer writes results: JSON for programs, else text and tables for people.
type printer struct {
	out  io.Writer
	json bool
}

// message writes the message as JSON, or calls people where people read.
func (p printer) message(message proto.Message, people func() error) error {
	if !p.json {
		return people()
	}
	// Zeros are told, so that a script finds rank 0 like any other rank.
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		return fmt.Errorf("printing %s: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	return p.indented(text)
}

// value writes what is no message of the API as JSON, or calls people where people read.
func (p printer) value(value any, people func() error) error {
	if !p.json {
		return people()
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("printing %T: %w", value, err)
	}
	return p.indented(text)
}

// indented writes JSON in one form: protojson puts spaces in at random, so that nobody relies on them.
func (p printer) indented(text []byte) error {
	var compact, pretty bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return err
	}
	if err := json.Indent(&pretty, compact.Bytes(), "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	_, err := p.out.Write(pretty.Bytes())
	return err
}

func (p printer) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return err
}

// table writes rows below a header, in columns. What is empty shows as "-".
func (p printer) table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Split(header, " "), "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = oneLine(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// pairs writes names and values below each other.
func (p printer) pairs(pairs ...[2]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, pair := range pairs {
		fmt.Fprintf(w, "%s:\t%s\n", pair[0], oneLine(pair[1]))
	}
	return w.Flush()
}

// oneLine keeps what others wrote from breaking a table, and a terminal.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text
}
