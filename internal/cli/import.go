package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

const (
	whichFile   = "name one FILE, or - for standard input: reviewpoint import users people.csv"
	shownOfRows = 20 // refused ones, on standard error
)

func (a *app) importCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "import",
		Short:   "Import users or files from CSV or JSON lines",
		Example: "  reviewpoint import users people.csv --dry-run",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	users := a.importRowsCommand("users", (*models.Store).ImportUsers)
	users.Short = "Import accounts from CSV or JSON lines"
	users.Long = "Import accounts from CSV or JSON lines, as `reviewpoint export users` writes them. Of the columns, email alone must be there: " +
		"public_id, email, name, bio, avatar_url, preferences, is_active, is_admin, is_deleted, deleted_at, last_login_at, tokens_valid_after, created_at, updated_at, hashed_password " +
		"(Argon2id in PHC form, or bcrypt). An account is told by its public_id, or where that is not given by its address. " + importLong
	users.Example = "  reviewpoint import users people.csv --dry-run\n  reviewpoint import users people.csv --on-conflict update --refused refused.csv\n" +
		"  reviewpoint export users --deleted --with-password-hashes | reviewpoint import users --db postgres://app@host/new"
	files := a.importRowsCommand("files", (*models.Store).ImportFiles)
	files.Short = "Import the records of files from CSV or JSON lines"
	files.Long = "Import the records of files from CSV or JSON lines, as `reviewpoint export files` writes them; import their owners first. The columns are " +
		"public_id, user_public_id (the owner's; or user_email), filename, content_type, size (bytes), created_at, updated_at; owner, filename and content_type must be there. " + importLong
	files.Example = "  reviewpoint import files papers.jsonl\n  reviewpoint export files | reviewpoint import files --db postgres://app@host/new"
	command.AddCommand(users, files)
	return command
}

const importLong = "A row that is there already is skipped, so after an interruption the same command goes on; one that is there with other values is refused, or what --on-conflict says. " +
	"A row that cannot be imported is refused with its line and the reason, the others go on, and the exit code is 1."

// importer is a method of Store that imports.
type importer = func(s *models.Store, ctx context.Context, r io.Reader, opts models.ImportOptions) (*models.ImportReport, error)

func (a *app) importRowsCommand(name string, rows importer) *cobra.Command {
	var (
		format, conflict, refused string
		dryRun                    bool
	)
	command := &cobra.Command{
		Use: name + " [FILE]",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New(whichFile)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			path := "-"
			if len(args) == 1 {
				path = args[0]
			}
			options := models.ImportOptions{DryRun: dryRun}
			if options.Format, err = formatOf(format, path); err != nil {
				return err
			}
			if options.OnConflict, err = conflictOf(conflict); err != nil {
				return err
			}
			if _, ok := terminal(a.stdin); ok && path == "-" && len(args) == 0 {
				return errors.New(whichFile)
			}
			if err := noURL(path, refused); err != nil {
				return err
			}
			input, size, err := a.open(cmd.Context(), path)
			if err != nil {
				return failure{err}
			}
			defer func() { err = errors.Join(err, input.Close()) }()
			var opts []models.Option
			if dryRun {
				opts = append(opts, models.WithReadOnly())
			}
			return a.withTables(cmd.Context(), func(s *models.Store) error {
				return a.importRows(cmd.Context(), s, rows, input, size, options, refused)
			}, opts...)
		},
	}
	command.Flags().StringVar(&format, "format", "", "the `format`: csv or jsonl (default by the end of the file's name, else csv)")
	oneOf(command, "format", "csv", "jsonl")
	command.Flags().StringVar(&conflict, "on-conflict", "refuse", "`what` becomes of a row that is there with other values: refuse, skip or update")
	oneOf(command, "on-conflict", "refuse", "skip", "update")
	command.Flags().StringVar(&refused, "refused", "", "a new `file` for all rows that are refused, with line, field and reason: CSV, or JSON lines if it ends in .jsonl")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and change nothing")
	return command
}

func (a *app) importRows(ctx context.Context, s *models.Store, rows importer, input io.Reader, size int64, options models.ImportOptions, refused string) (err error) {
	shown := 0
	line := a.progress(ctx)
	show := func(row models.RefusedRow) {
		if shown++; shown <= shownOfRows {
			line.wipe()
			fmt.Fprintln(a.stderr, refusedLine(row))
		}
	}
	options.Refused = func(row models.RefusedRow) error {
		show(row)
		return nil
	}
	if refused != "" {
		all, failed := newRefusedFile(refused)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, all.close()) }()
		options.Refused = func(row models.RefusedRow) error {
			show(row)
			return all.write(row)
		}
	}
	counted := &countedReader{r: input}
	options.Progress = func(report models.ImportReport) { line.show("read", int64(report.Read), counted.n, size) }
	report, err := rows(s, ctx, counted, options)
	line.wipe()
	if shown > shownOfRows {
		fmt.Fprintf(a.stderr, "and %d more\n", shown-shownOfRows)
	}
	stopped := importError(ctx, *report, options.DryRun, err)
	if err != nil && report.Read == 0 && !a.json {
		return stopped
	}
	return errors.Join(a.printImport(*report, options.DryRun), stopped)
}

func refusedLine(row models.RefusedRow) string {
	if row.Field == "" {
		return fmt.Sprintf("line %d: %s", row.Line, row.Reason)
	}
	return fmt.Sprintf("line %d: %s: %s", row.Line, row.Field, row.Reason)
}

func importError(ctx context.Context, report models.ImportReport, dryRun bool, err error) error {
	invalid, isInvalid := errors.AsType[*models.ValidationError](err)
	switch {
	case err == nil && report.Refused > 0:
		return fmt.Errorf("%d of %d rows were refused", report.Refused, report.Read)
	case err == nil:
		return nil
	case isInvalid && invalid.Field == "header":
		return errors.New("the header " + invalid.Reason)
	case ctx.Err() != nil && dryRun:
		return fmt.Errorf("stopped after line %d of a dry run: %w", report.Line, cmp.Or(context.Cause(ctx), err))
	case ctx.Err() != nil:
		return fmt.Errorf("stopped: the rows up to line %d are committed; run the same command again: rows that are there are skipped: %w", report.Line, cmp.Or(context.Cause(ctx), err))
	case report.Read > 0:
		return fmt.Errorf("stopped after line %d: %w", report.Line, err)
	}
	return err
}

func (a *app) printImport(report models.ImportReport, dryRun bool) error {
	if a.json {
		return a.printJSON(struct {
			models.ImportReport

			DryRun bool `json:"dry_run"`
		}{report, dryRun})
	}
	if report.Read == 0 {
		_, err := fmt.Fprintln(a.stdout, "there are no rows in it")
		return err
	}
	would := ""
	if dryRun {
		would = "a dry run: nothing was changed; "
	}
	_, err := fmt.Fprintf(a.stdout, "%s%d rows read: %d imported, %d updated, %d skipped, %d refused\n", would, report.Read, report.Imported, report.Updated, report.Skipped, report.Refused)
	return err
}

func formatOf(format, path string) (models.ImportFormat, error) {
	switch format {
	case "csv":
		return models.ImportCSV, nil
	case "jsonl":
		return models.ImportJSONLines, nil
	case "":
		if path = strings.ToLower(path); strings.HasSuffix(path, ".jsonl") || strings.HasSuffix(path, ".ndjson") || strings.HasSuffix(path, ".json") {
			return models.ImportJSONLines, nil
		}
		return models.ImportCSV, nil
	}
	return 0, errors.New("--format is none of csv and jsonl")
}

func conflictOf(name string) (models.ImportConflict, error) {
	switch name {
	case "refuse":
		return models.ConflictRefuse, nil
	case "skip":
		return models.ConflictSkip, nil
	case "update":
		return models.ConflictUpdate, nil
	}
	return 0, errors.New("--on-conflict is none of refuse, skip and update")
}

// noURL refuses a URL in the place of a path, before it is shown.
func noURL(paths ...string) error {
	for _, path := range paths {
		if strings.Contains(path, "://") {
			return errors.New("there is a database URL where a file belongs: give it as --db URL")
		}
	}
	return nil
}

// open opens a file to read, or standard input for -, and tells its size if it has one.
func (a *app) open(ctx context.Context, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		var size int64
		if file, ok := a.stdin.(*os.File); ok {
			if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
				size = info.Size()
			}
		}
		return io.NopCloser(&interruptible{ctx: ctx, r: a.stdin}), size, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", printable(path), errors.Unwrap(err))
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder: name a file", printable(path))
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// interruptible reads until ctx ends, though nothing may come any more.
type interruptible struct {
	ctx context.Context //nolint:containedctx // It ends a read.
	r   io.Reader
	buf [1 << 16]byte
	got []byte
	err error
}

func (i *interruptible) Read(p []byte) (int, error) {
	if len(i.got) == 0 && i.err == nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			n, err := i.r.Read(i.buf[:])
			i.got, i.err = i.buf[:n], err
		}()
		select {
		case <-done:
		case <-i.ctx.Done():
			return 0, i.ctx.Err() // after which nobody reads on
		}
	}
	n := copy(p, i.got)
	i.got = i.got[n:]
	if len(i.got) > 0 {
		return n, nil
	}
	return n, i.err
}

type countedReader struct {
	r io.Reader
	n int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// newFile makes a file for what a flag names, which its owner alone may read.
func newFile(flag, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, errThere(flag)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, errors.Unwrap(err))
	}
	return file, nil
}

func errThere(flag string) error {
	return fmt.Errorf("%s names a file that is there already: give another name", flag)
}

// refusedFile is a file of the rows that are refused; none is left if there were none.
type refusedFile struct {
	file *os.File
	w    *bufio.Writer
	csv  *csv.Writer // nil for JSON lines
	rows int
}

func newRefusedFile(path string) (*refusedFile, error) {
	file, err := newFile("--refused", path)
	if err != nil {
		return nil, err
	}
	f := &refusedFile{file: file, w: bufio.NewWriter(file)}
	if format, _ := formatOf("", path); format == models.ImportCSV {
		f.csv = csv.NewWriter(f.w)
		err = f.csv.Write([]string{"line", "field", "reason"})
	}
	return f, err
}

func (f *refusedFile) write(row models.RefusedRow) error {
	f.rows++
	if f.csv != nil {
		return f.csv.Write([]string{strconv.Itoa(row.Line), row.Field, row.Reason})
	}
	return json.NewEncoder(f.w).Encode(row)
}

func (f *refusedFile) close() error {
	if f.rows == 0 {
		return errors.Join(f.file.Close(), os.Remove(f.file.Name()))
	}
	if f.csv != nil {
		f.csv.Flush()
	}
	return errors.Join(f.w.Flush(), f.file.Close())
}
