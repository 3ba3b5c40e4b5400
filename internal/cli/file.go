package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/clock"
)

func (a *app) fileCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "file",
		Short:   "Look after the records of files",
		Long:    "Look after the records of files; their bytes are kept elsewhere. USER is an id or an address.",
		Example: "  reviewpoint file list --user ada@example.org",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(a.fileListCommand(), a.fileAddCommand(), a.fileDeleteCommand())
	return command
}

func (a *app) fileListCommand() *cobra.Command {
	var (
		who    string
		filter models.FileFilter
		most   int64
		l      listing
	)
	command := &cobra.Command{
		Use:   "list",
		Short: "List files by id",
		Example: "  reviewpoint file list --user ada@example.org --sort created_at --desc\n" +
			"  reviewpoint file list --name draft --type 'image/*' --min-size 1000000\n" +
			"  reviewpoint file list --since 30d --limit 0 --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if err := l.parse(clock.Now(ctx)); err != nil {
				return err
			}
			if cmd.Flags().Changed("max-size") {
				filter.MaxSize = &most
			}
			switch {
			case filter.MinSize < 0:
				return fmt.Errorf("--min-size is %d: give 0 or more", filter.MinSize)
			case most < 0:
				return fmt.Errorf("--max-size is %d: give 0 or more", most)
			case filter.MaxSize != nil && most < filter.MinSize:
				return fmt.Errorf("--max-size %d is less than --min-size %d", most, filter.MinSize)
			}
			filter.CreatedFrom, filter.CreatedBefore = l.from, l.before
			show := func(s *models.Store) error {
				read := pages(&l, func(r models.PageRequest) (*models.Page[*ent.File], error) { return s.ListFiles(ctx, filter, r) })
				return list(a, l.limit, "ID\tUSER\tFILENAME\tTYPE\tSIZE\tCREATED AT", "no such files", read, fileLine)
			}
			if who == "" {
				return a.withTables(ctx, show, models.WithReadOnly())
			}
			return a.withUser(ctx, who, func(s *models.Store, u *ent.User) error {
				filter.UserID = u.ID
				return show(s)
			}, models.WithReadOnly())
		},
	}
	command.Flags().StringVar(&who, "user", "", "of this `USER` alone")
	command.Flags().StringVar(&filter.Filename, "name", "", "with this `text` in the name, in either case")
	command.Flags().StringVar(&filter.ContentType, "type", "", "of this content `type`, or of all that begin alike: 'image/*'")
	command.Flags().Int64Var(&filter.MinSize, "min-size", 0, "of at least so many `bytes` (default any)")
	command.Flags().Int64Var(&most, "max-size", 0, "of at most so many `bytes` (default any)")
	l.flags(command, models.SortID, models.SortCreatedAt, models.SortUpdatedAt, models.SortFilename, models.SortContentType, models.SortSize)
	return command
}

func fileLine(f *ent.File) string {
	return fmt.Sprintf("%d\t%d\t%s\t%s\t%d\t%s", f.ID, f.UserID, printable(f.Filename), printable(f.ContentType), f.Size, f.CreatedAt.Format(time.RFC3339))
}

func (a *app) fileAddCommand() *cobra.Command {
	var (
		who  string
		file models.NewFile
	)
	command := &cobra.Command{
		Use:     "add FILENAME --user USER",
		Short:   "Put a file on record",
		Example: "  reviewpoint file add paper.pdf --user ada@example.org --type application/pdf --size 52311",
		Args:    one("give one FILENAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if who == "" {
				return errors.New("give the owner: --user USER, an id or an address")
			}
			file.Filename = args[0]
			return a.withUser(ctx, who, func(s *models.Store, u *ent.User) error {
				files, err := s.CreateFiles(ctx, u.ID, []models.NewFile{file})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(files[0])
				}
				_, err = fmt.Fprintf(a.stdout, "file %d: on record for user %d\n", files[0].ID, u.ID)
				return err
			})
		},
	}
	command.Flags().StringVar(&who, "user", "", "its owner, a `USER`")
	command.Flags().StringVar(&file.ContentType, "type", "application/octet-stream", "its content `type`")
	command.Flags().Int64Var(&file.Size, "size", 0, "its `bytes` (default 0)")
	return command
}

func (a *app) fileDeleteCommand() *cobra.Command {
	var (
		who string
		yes bool
	)
	command := &cobra.Command{
		Use:     "delete FILENAME... --user USER",
		Short:   "Delete the records of all files of a user that have one of the names",
		Example: "  reviewpoint file delete draft.pdf figure.png --user ada@example.org",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give one FILENAME or more")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if who == "" {
				return errors.New("give the owner: --user USER, an id or an address")
			}
			return a.changeUser(cmd.Context(), who, userChange{
				verb: "delete_files", of: whichever, warning: "deletes files of user %d (%s) for good",
				do: func(s *models.Store, ctx context.Context, userID int) error {
					return a.deleteFiles(ctx, s, userID, args)
				},
			}, yes)
		},
	}
	command.Flags().StringVar(&who, "user", "", "their owner, a `USER`")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

func (a *app) deleteFiles(ctx context.Context, s *models.Store, userID int, filenames []string) error {
	deleted, missing, err := s.DeleteFiles(ctx, userID, filenames)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"id": userID, "deleted": notNil(deleted), "missing": notNil(missing)})
	}
	for _, name := range deleted {
		fmt.Fprintf(a.stdout, "deleted: %s\n", printable(name))
	}
	if len(missing) > 0 {
		return fmt.Errorf("user %d has no file of the name %s", userID, printable(strings.Join(missing, ", ")))
	}
	return nil
}

func notNil(names []string) []string { return append([]string{}, names...) }
