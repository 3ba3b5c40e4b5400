package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal returns the file descriptor of a stream that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	file, ok := stream.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(file.Fd())
	return fd, term.IsTerminal(fd)
}

// readPassword asks twice on the terminal for a password, which is not shown; where there is none, it is
// the first line of standard input.
func (a *app) readPassword(ctx context.Context) (string, error) {
	fd, ok := terminal(a.stdin)
	if !ok {
		line, err := a.readLine(ctx)
		if errors.Is(err, io.EOF) {
			err = errors.New("there is no password: give it as the first line of standard input, or run this in a terminal")
		}
		return line, err
	}
	password, err := a.hidden(ctx, fd, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := a.hidden(ctx, fd, "The same again: ")
	if err != nil {
		return "", err
	}
	if password != again {
		return "", errors.New("these were two different passwords, so nothing was changed")
	}
	return password, nil
}

// hidden asks for a line that the terminal does not show.
func (a *app) hidden(ctx context.Context, fd int, prompt string) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	defer func() {
		_ = term.Restore(fd, before) // A signal leaves the read behind, which would do it.
		fmt.Fprintln(a.stderr)
	}()
	fmt.Fprint(a.stderr, prompt)
	return await(ctx, func() (string, error) {
		line, err := term.ReadPassword(fd)
		return string(line), err
	})
}

// maxLine is more than any password has.
const maxLine = 64 << 10

// readLine reads the first line of standard input, without its end; io.EOF says that there is none.
func (a *app) readLine(ctx context.Context) (string, error) {
	return await(ctx, func() (string, error) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, maxLine)).ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
	})
}

// await returns what read does, unless ctx ends: a signal ends that, but no read.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := read()
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return a.line, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
