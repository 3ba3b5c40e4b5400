package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reviewpoint/models/internal/cluster"
)

func TestMain(m *testing.M) {
	if os.Getenv(openVariable) != "" { // The test of scale starts this program.
		main()
		return
	}
	os.Exit(m.Run())
}

// TestScale runs all parts of scale on little, and looks whether the report has them all.
func TestScale(t *testing.T) {
	t.Parallel()
	for _, db := range []string{"sqlite", "postgres"} {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			folder, progress := t.TempDir(), &bytes.Buffer{}
			var text bytes.Buffer
			err := start(t.Context(), []string{
				"scale", "-db", db, "-rows", "3000", "-rounds", "1", "-slice", "1ms", "-writes", "8", "-disk-rows", "2000",
				"-load-rows", "2000", "-load-time", "50ms", "-load-rounds", "1", "-starts", "3", "-out", folder,
			}, &text, progress)
			if errors.Is(err, cluster.ErrNone) && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, progress)
			}
			page, err := os.ReadFile(filepath.Join(folder, "scale.md"))
			if err != nil {
				t.Fatal(err)
			}
			for name, got := range map[string]string{"terminal": text.String(), "scale.md": string(page)} {
				for _, p := range hotPaths {
					if !strings.Contains(got, p.name) {
						t.Errorf("%s does not tell of %s: %s", name, p.name, got)
					}
				}
				for _, want := range []string{"1 thousand", "3 thousand", "users", "files", "blacklisted_tokens", "used_password_reset_tokens", "audit_logs", "15 % UserByID", "at half of that rate, beside", "accounts imported", "new process"} {
					if !strings.Contains(got, want) {
						t.Errorf("%s does not tell of %q: %s", name, want, got)
					}
				}
			}
		})
	}
}
