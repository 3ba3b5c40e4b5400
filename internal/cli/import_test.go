package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/internal/cli"
)

// TestRun_InterruptedImport interrupts an import that waits for more rows: what is committed is said, and
// the same command goes on.
func TestRun_InterruptedImport(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string, store *models.Store) {
		if _, err := store.Migrate(models.AsSystem(t.Context(), "test")); err != nil {
			t.Fatal(err)
		}
		var file strings.Builder
		file.WriteString("email\n")
		for i := range 2500 {
			fmt.Fprintf(&file, "person%d@example.org\n", i)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		endless, rest := io.Pipe()
		defer rest.Close()
		go func() {
			for line := range strings.Lines(file.String()) { // A line is taken when those before are done with.
				_, _ = io.WriteString(rest, line)
			}
			interrupt()
		}()
		var stdout, stderr bytes.Buffer
		code := cli.Run(ctx, []string{"import", "users", "--db", url}, func(string) string { return "" }, endless, &stdout, &stderr)
		wantOneLine(t, code, stderr.String(), "the rows up to line 2001 are committed; run the same command again: rows that are there are skipped")
		if !strings.HasPrefix(stdout.String(), "2000 rows read: 2000 imported, ") {
			t.Errorf("stdout is %q", stdout.String())
		}
		stdout.Reset()
		code = cli.Run(t.Context(), []string{"import", "users", "-", "--db", url}, func(string) string { return "" }, strings.NewReader(file.String()), &stdout, &stderr)
		if code != 0 || stdout.String() != "2500 rows read: 500 imported, 0 updated, 2000 skipped, 0 refused\n" {
			t.Errorf("again: exit code %d, %q", code, stdout.String())
		}
	})
}
