package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models/internal/diagram"
)

func (a *app) erdCommand() *cobra.Command {
	var format, out string
	command := &cobra.Command{
		Use:   "erd",
		Short: "Draw the entity diagram",
		Long: `Draw the tables that this command was built with, their columns and how they refer to each other: as text for Mermaid, as an SVG drawing, or as an HTML page with the drawing and the data dictionary, which loads nothing else.

It needs no database, and opens none.`,
		Example: "  reviewpoint erd\n  reviewpoint erd --out schema.svg\n  reviewpoint erd --format html --out schema.html",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var draw func(*diagram.Model) (string, error)
			switch cmp.Or(format, formatOfDrawing(out)) {
			case "mermaid":
				draw = func(m *diagram.Model) (string, error) { return m.Mermaid(), nil }
			case "svg":
				draw = func(m *diagram.Model) (string, error) { return m.SVG(), nil }
			case "html":
				draw = (*diagram.Model).HTML
			default:
				return errors.New("--format must be mermaid, svg or html")
			}
			if err := a.erd(cmd.Context(), draw, out); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	command.Flags().StringVar(&format, "format", "", "draw it in this `format`: mermaid, svg or html (default by the end of the file's name, else mermaid)")
	oneOf(command, "format", "mermaid", "svg", "html")
	command.Flags().StringVar(&out, "out", "", "the `file` to write, or to replace, in place of standard output")
	return command
}

func formatOfDrawing(path string) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".svg":
		return "svg"
	case ".html", ".htm":
		return "html"
	}
	return "mermaid"
}

func (a *app) erd(ctx context.Context, draw func(*diagram.Model) (string, error), out string) error {
	model, err := diagram.Current(ctx)
	if err != nil {
		return err
	}
	text, err := draw(model)
	if err != nil {
		return err
	}
	if out == "" {
		_, err = io.WriteString(a.stdout, text)
		return err
	}
	var path *fs.PathError
	if err := replaceFile(out, text); errors.As(err, &path) {
		return fmt.Errorf("--out: %w", path.Err) // without the path, which may be a URL by mistake
	} else if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// replaceFile writes a file whole or not at all, and leaves the mode of one that it replaces. What is there and no file, as a pipe, is written to.
func replaceFile(path, text string) (err error) {
	mode := fs.FileMode(0o666) // less what the umask takes
	info, err := os.Stat(path)
	replaced := err == nil
	if replaced {
		if !info.Mode().IsRegular() {
			return os.WriteFile(path, []byte(text), mode)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	// os.CreateTemp would leave no rights to others, whatever the umask says.
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".reviewpoint-"+rand.Text()), os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if replaced {
		err = file.Chmod(info.Mode().Perm())
	}
	_, written := file.WriteString(text)
	err = errors.Join(err, written, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}
