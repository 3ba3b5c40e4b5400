package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/reviewpoint/models/internal/clock"
)

// progress shows on a terminal how far long work is; one that is nil shows nothing.
type progress struct {
	ctx          context.Context //nolint:containedctx // of the work, for its clock
	terminal     io.Writer
	began, shown time.Time
}

// progress begins now, where standard error is a terminal.
func (a *app) progress(ctx context.Context) *progress {
	if _, ok := terminal(a.stderr); !ok {
		return nil
	}
	return &progress{ctx: ctx, terminal: a.stderr, began: clock.Now(ctx)}
}

const emptyLine = "\r\x1b[K" // back to the beginning of an empty line

// show shows, a few times a second, how many rows the work has done, which a verb says, and the time that
// is left when done is so much of total, in whatever unit; a total of 0 is not known.
func (p *progress) show(verb string, rows, done, total int64) {
	if p == nil {
		return
	}
	if now := clock.Now(p.ctx); now.Sub(p.shown) >= 200*time.Millisecond {
		p.shown = now
		fmt.Fprint(p.terminal, emptyLine+progressLine(verb, rows, done, total, now.Sub(p.began)))
	}
}

// wipe takes the line away, before anything else is written.
func (p *progress) wipe() {
	if p != nil {
		fmt.Fprint(p.terminal, emptyLine)
	}
}

func progressLine(verb string, rows, done, total int64, elapsed time.Duration) string {
	line := strconv.FormatInt(rows, 10)
	if done == rows && total > 0 { // The unit is rows.
		line += " of " + strconv.FormatInt(total, 10)
	}
	line += " rows " + verb
	if elapsed < time.Second || done <= 0 {
		return line // A rate would be a guess.
	}
	line += fmt.Sprintf(", %.0f/s", float64(rows)/elapsed.Seconds())
	if left := float64(total-done) / float64(done) * elapsed.Seconds(); left >= 0 {
		line += fmt.Sprintf(", %s left", time.Duration(left*float64(time.Second)).Round(time.Second))
	}
	return line
}
