// Command reviewpoint looks after a ReviewPoint database.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/reviewpoint/models/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends it at once
	code := cli.Run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
