package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

func (a *app) exportCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "export",
		Short:   "Export users or files as CSV or JSON lines",
		Example: "  reviewpoint export users --out people.csv",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var hashes bool
	users := a.exportRowsCommand("users", func(s *models.Store, ctx context.Context, w io.Writer, opts models.ExportOptions) error {
		opts.WithPasswordHashes = hashes
		return s.ExportUsers(ctx, w, opts)
	}, func(s *models.Store, ctx context.Context) (int, error) { return s.User.Query().Count(ctx) })
	users.Short = "Export accounts as CSV or JSON lines"
	users.Long = "Export accounts as CSV or JSON lines, in the order in which they were made, as `reviewpoint import users` reads them: imported into an empty database, they are exported again as the same bytes. " + exportLong
	users.Example = "  reviewpoint export users --out people.csv\n  reviewpoint export users --deleted --with-password-hashes --out all.jsonl"
	users.Flags().BoolVar(&hashes, "with-password-hashes", false, "the hashes of passwords too, for accounts to be moved; without them nobody can sign in there before a reset")
	files := a.exportRowsCommand("files", (*models.Store).ExportFiles, func(s *models.Store, ctx context.Context) (int, error) { return s.File.Query().Count(ctx) })
	files.Short = "Export the records of files as CSV or JSON lines"
	files.Long = "Export the records of files as CSV or JSON lines, as `reviewpoint import files` reads them. " + exportLong
	files.Example = "  reviewpoint export files --out papers.jsonl"
	command.AddCommand(users, files)
	return command
}

const exportLong = "It shows the database as it was at the beginning, whatever changes meanwhile. In CSV, an empty cell is a value that is missing, and what a spreadsheet would take for a formula has an apostrophe before it, which the import takes away."

// exporter is a method of Store that exports.
type exporter = func(s *models.Store, ctx context.Context, w io.Writer, opts models.ExportOptions) error

func (a *app) exportRowsCommand(name string, rows exporter, count func(*models.Store, context.Context) (int, error)) *cobra.Command {
	var (
		format, path string
		deleted      bool
	)
	command := &cobra.Command{
		Use:  name,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var options models.ExportOptions
			if options.Format, err = formatOf(format, path); err != nil {
				return err
			}
			if err := noURL(path); err != nil {
				return err
			}
			ctx := cmd.Context()
			if deleted {
				ctx = models.IncludeDeleted(ctx)
			}
			return a.withTables(ctx, func(s *models.Store) error {
				line, total := a.progress(ctx), 0
				if line != nil {
					if total, err = count(s, ctx); err != nil {
						return err
					}
				}
				written := 0
				options.Progress = func(rows int) {
					written = rows
					line.show("written", int64(rows), int64(rows), int64(total))
				}
				defer line.wipe()
				if path == "" || path == "-" {
					return stopped(ctx, buffered(a.stdout, func(w io.Writer) error { return rows(s, ctx, w, options) }))
				}
				if err := stopped(ctx, toNewFile(path, func(w io.Writer) error { return rows(s, ctx, w, options) })); err != nil {
					return err
				}
				line.wipe()
				if a.json {
					return a.printJSON(map[string]int{"rows": written})
				}
				_, err := fmt.Fprintf(a.stdout, "%d rows written\n", written)
				return err
			}, models.WithReadOnly())
		},
	}
	command.Flags().StringVar(&format, "format", "", "the `format`: csv or jsonl (default by the end of the file's name, else csv)")
	oneOf(command, "format", "csv", "jsonl")
	command.Flags().StringVar(&path, "out", "", "a new `file` for it, which its owner alone may read, in place of standard output")
	command.Flags().BoolVar(&deleted, "deleted", false, "deleted accounts and their files, too")
	return command
}

// stopped says of an export that is not whole why.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the end: %w", cmp.Or(context.Cause(ctx), err))
	}
	return err
}

func buffered(w io.Writer, write func(io.Writer) error) error {
	buffer := bufio.NewWriterSize(w, 1<<16)
	err := write(buffer)
	if flushed := buffer.Flush(); !errors.Is(err, flushed) { // A buffer that could not be written says so each time.
		err = errors.Join(err, flushed)
	}
	return err
}

// toNewFile makes a file, whole or not at all, also when the process is killed: its name is given when all
// is written.
func toNewFile(path string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return errThere("--out")
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".reviewpoint-*")
	if err != nil {
		return fmt.Errorf("--out: %w", errors.Unwrap(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(buffered(file, write), file.Sync(), file.Close()); err != nil {
		return err
	}
	place, err := newFile("--out", path) // The name may have been taken meanwhile.
	if err != nil {
		return err
	}
	return errors.Join(place.Close(), os.Rename(file.Name(), path))
}
