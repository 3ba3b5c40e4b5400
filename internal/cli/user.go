package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/password"
)

func (a *app) userCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "user",
		Short:   "Look after accounts",
		Long:    "Look after accounts. USER is an id or an address; a deleted account is found by its id alone.",
		Example: "  reviewpoint user list\n  reviewpoint user show ada@example.org",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(
		a.userAddCommand(), a.userListCommand(), a.userShowCommand(), a.userPasswdCommand(),
		a.userChangeCommand("Disable an account, and refuse its tokens", userChange{
			verb: "deactivate", done: "disabled; the tokens issued before are refused", do: (*models.Store).DeactivateUser,
		}),
		a.userChangeCommand("Undo deactivate, but for the tokens", userChange{
			verb: "reactivate", done: "active; the person signs in again", do: (*models.Store).ReactivateUser,
		}),
		a.userDeleteCommand(),
		a.userChangeCommand("Undo delete, but for the tokens", userChange{
			verb: "restore", done: "restored; the person signs in again", do: (*models.Store).RestoreUser,
			of: deleted,
		}),
		a.userChangeCommand("Take from an account whatever tells whose it is, for good", userChange{
			verb: "anonymize", done: "anonymized; its files were kept", do: (*models.Store).AnonymizeUser,
			of: whichever, warning: "takes from user %d (%s) for good whatever tells whose it is",
		}),
		a.userExportCommand(),
	)
	return command
}

const (
	oneUser           = "give one USER: an id or an address"
	passwordElsewhere = "; the password is asked for on the terminal, or read from standard input"
)

var errTaken = errors.New("another account has the address: look at it with `reviewpoint user show EMAIL`")

// account is how a person names one.
type account struct {
	id    int
	email string // if there is no id
}

// parseUser does not repeat what is no id: it may be a password.
func parseUser(text string) (account, error) {
	if strings.Contains(text, "@") {
		return account{email: text}, nil
	}
	id, err := strconv.Atoi(text)
	if err != nil || id <= 0 {
		return account{}, errors.New("USER must be an id, such as 7, or an address")
	}
	return account{id: id}, nil
}

func (n account) find(ctx context.Context, s *models.Store) (u *ent.User, err error) {
	if n.email != "" {
		u, err = s.UserByEmail(ctx, n.email)
	} else {
		u, err = s.UserByID(models.IncludeDeleted(ctx), n.id)
	}
	if errors.Is(err, models.ErrNotFound) {
		err = errors.New("there is no such account: look with `reviewpoint user list`; deleted ones (--deleted) are found by id alone")
	}
	return u, err
}

// withUser runs work on the account that an argument names.
func (a *app) withUser(ctx context.Context, argument string, work func(*models.Store, *ent.User) error, opts ...models.Option) error {
	name, err := parseUser(argument)
	if err != nil {
		return err
	}
	return a.withTables(ctx, func(s *models.Store) error {
		u, err := name.find(ctx, s)
		if err != nil {
			return err
		}
		return work(s, u)
	}, opts...)
}

// done says what happened to an account.
func (a *app) done(u *ent.User, verb, words string) error {
	if a.json {
		return a.printJSON(map[string]any{"id": u.ID, "action": verb})
	}
	_, err := fmt.Fprintf(a.stdout, "user %d: %s\n", u.ID, words)
	return err
}

func (a *app) userAddCommand() *cobra.Command {
	var (
		name              string
		admin, noPassword bool
	)
	add := &cobra.Command{
		Use:     "add EMAIL",
		Short:   "Make an account",
		Long:    "Make an account. The password is asked for on the terminal, or is the first line of standard input.",
		Example: "  reviewpoint user add ada@example.org --name \"Ada Lovelace\" --admin\n  reviewpoint user add ada@example.org < password.txt",
		Args:    one("give one EMAIL" + passwordElsewhere),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			set := func(m *ent.UserMutation) {
				m.SetIsAdmin(admin)
				if name != "" {
					m.SetName(name)
				}
			}
			return a.withTables(ctx, func(s *models.Store) error {
				u, err := a.addUser(ctx, s, args[0], !noPassword, set)
				if err != nil {
					return err
				}
				return a.printUser(u)
			})
		},
	}
	add.Flags().StringVar(&name, "name", "", "the person's `name`")
	add.Flags().BoolVar(&admin, "admin", false, "make the account an administrator's")
	add.Flags().BoolVar(&noPassword, "no-password", false, "nobody can sign in to it until it is given a password by user passwd")
	return add
}

func (a *app) addUser(ctx context.Context, s *models.Store, email string, withPassword bool, set models.UserOption) (*ent.User, error) {
	switch _, err := s.UserByEmail(ctx, email); { // before a password is typed
	case err == nil:
		return nil, errTaken
	case !errors.Is(err, models.ErrNotFound):
		return nil, err
	}
	if !withPassword {
		create := s.User.Create().SetEmail(email).SetHashedPassword(password.None)
		set(create.Mutation())
		return create.Save(ctx)
	}
	chosen, err := a.readPassword(ctx)
	if err != nil {
		return nil, err
	}
	return s.Register(ctx, email, chosen, set)
}

func (a *app) userListCommand() *cobra.Command {
	var (
		filter                   models.UserFilter
		deleted, admin, inactive bool
		l                        listing
	)
	command := &cobra.Command{
		Use:   "list",
		Short: "List accounts by id",
		Example: "  reviewpoint user list --admin --limit 0\n" +
			"  reviewpoint user list --search lovelace --sort last_login_at --desc\n" +
			"  reviewpoint user list --deleted --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := models.IncludeDeleted(cmd.Context())
			if err := l.parse(clock.Now(ctx)); err != nil {
				return err
			}
			filter.Deleted, filter.CreatedFrom, filter.CreatedBefore = &deleted, l.from, l.before
			if admin {
				filter.Admin = &admin
			}
			if inactive {
				filter.Active = new(false)
			}
			return a.withTables(ctx, func(s *models.Store) error {
				read := pages(&l, func(r models.PageRequest) (*models.Page[*ent.User], error) { return s.ListUsers(ctx, filter, r) })
				return list(a, l.limit, "ID\tEMAIL\tNAME\tROLE\tSTATE\tLAST LOGIN\tCREATED AT", "no such accounts", read, userLine)
			}, models.WithReadOnly())
		},
	}
	command.Flags().StringVar(&filter.Text, "search", "", "with this `text` in the address or the name, in either case")
	command.Flags().BoolVar(&deleted, "deleted", false, "deleted accounts instead of the others")
	command.Flags().BoolVar(&admin, "admin", false, "administrators alone")
	command.Flags().BoolVar(&inactive, "inactive", false, "disabled accounts alone")
	l.flags(command, models.SortID, models.SortEmail, models.SortName, models.SortCreatedAt, models.SortUpdatedAt, models.SortLastLoginAt)
	return command
}

func userLine(u *ent.User) string {
	state, name, login := "active", "-", "-"
	switch {
	case u.IsDeleted:
		state = "deleted"
	case !u.IsActive:
		state = "disabled"
	}
	if u.Name != nil {
		name = printable(*u.Name)
	}
	if u.LastLoginAt != nil {
		login = u.LastLoginAt.Format(time.RFC3339)
	}
	return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s", u.ID, printable(u.Email), name, u.Role(), state, login, u.CreatedAt.Format(time.RFC3339))
}

func (a *app) userShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show USER",
		Short:   "Show an account",
		Example: "  reviewpoint user show ada@example.org\n  reviewpoint user show 7 --json",
		Args:    one(oneUser),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withUser(cmd.Context(), args[0], func(_ *models.Store, u *ent.User) error { return a.printUser(u) }, models.WithReadOnly())
		},
	}
}

func (a *app) printUser(u *ent.User) error {
	if a.json {
		return a.printJSON(u)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	columns := u.ToMap()
	for _, column := range user.Columns {
		value, ok := columns[column]
		if !ok { // sensitive
			continue
		}
		fmt.Fprintf(table, "%s\t%s\n", column, cell(value))
	}
	return table.Flush()
}

func cell(v any) string {
	switch v := v.(type) {
	case string:
		return printable(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case fmt.Stringer:
		return v.String()
	default:
		return value(v)
	}
}

// userChange is a change of one account.
type userChange struct {
	verb, done string
	of         state
	warning    string // what cannot be undone, with the id and the address
	do         func(s *models.Store, ctx context.Context, userID int) error
}

// state is which accounts a change is for.
type state int

const (
	inUse state = iota
	deleted
	whichever
)

func (a *app) changeUser(ctx context.Context, argument string, c userChange, yes bool) error {
	ask := c.warning != "" && !yes
	if _, ok := terminal(a.stdin); ask && !ok {
		return errors.New("this cannot be undone: give --yes where there is no terminal to ask on")
	}
	return a.withUser(ctx, argument, func(s *models.Store, u *ent.User) error {
		switch {
		case c.verb == "delete" && u.IsDeleted:
			return fmt.Errorf("user %d is deleted already: --hard removes it for good", u.ID)
		case c.of == inUse && u.IsDeleted:
			return fmt.Errorf("user %d is deleted: `reviewpoint user restore %d` comes first", u.ID, u.ID)
		case c.of == deleted && !u.IsDeleted:
			return fmt.Errorf("user %d is not deleted", u.ID)
		}
		if ask {
			if err := a.confirm(ctx, u, c.warning); err != nil {
				return err
			}
		}
		err := c.do(s, ctx, u.ID)
		switch {
		case errors.Is(err, models.ErrEmailTaken):
			return errTaken
		case err != nil:
			return err
		}
		if c.done == "" { // do has said it
			return nil
		}
		return a.done(u, c.verb, c.done)
	})
}

// confirm makes a person type the id of what is lost.
func (a *app) confirm(ctx context.Context, u *ent.User, warning string) error {
	fmt.Fprintf(a.stderr, "This "+warning+". Type the id %d to go on: ", u.ID, printable(u.Email), u.ID)
	typed, err := a.readLine(ctx)
	if err != nil { // and no end of the line
		fmt.Fprintln(a.stderr)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case strings.TrimSpace(typed) != strconv.Itoa(u.ID):
		return errors.New("the id was not typed, so nothing was changed")
	}
	return nil
}

func (a *app) userChangeCommand(short string, c userChange) *cobra.Command {
	var yes bool
	example := "ada@example.org"
	if c.of == deleted {
		example = "7" // A deleted account is found by its id alone.
	}
	command := &cobra.Command{
		Use:     c.verb + " USER",
		Short:   short,
		Example: "  reviewpoint user " + c.verb + " " + example,
		Args:    one(oneUser),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeUser(cmd.Context(), args[0], c, yes)
		},
	}
	if c.warning != "" {
		command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return command
}

func (a *app) userPasswdCommand() *cobra.Command {
	command := a.userChangeCommand("Give an account another password", userChange{
		verb: "passwd", done: "has another password; the tokens issued before are refused",
		do: func(s *models.Store, ctx context.Context, userID int) error {
			chosen, err := a.readPassword(ctx)
			if err != nil {
				return err
			}
			return s.SetPassword(ctx, userID, chosen)
		},
	})
	command.Long = "Give an account another password, which is asked for on the terminal, or is the first line of standard input. The tokens issued before are refused."
	command.Example += "\n  reviewpoint user passwd 7 < password.txt"
	command.Args = one(oneUser + passwordElsewhere)
	return command
}

func (a *app) userDeleteCommand() *cobra.Command {
	soft := userChange{verb: "delete", done: "deleted; its row and files are kept for `reviewpoint user restore`", do: (*models.Store).SoftDeleteUser}
	forGood := userChange{
		verb: "hard_delete", done: "removed for good, with its files", of: whichever,
		warning: "removes user %d (%s) and its files for good",
		do: func(s *models.Store, ctx context.Context, userID int) error {
			return s.User.DeleteOneID(userID).Exec(models.HardDelete(ctx))
		},
	}
	var hard, yes bool
	command := &cobra.Command{
		Use:     "delete USER",
		Short:   "Delete an account, softly unless --hard",
		Long:    "Delete an account, and refuse its tokens. Its row and its files are kept, and its address is free for somebody else.",
		Example: "  reviewpoint user delete ada@example.org\n  reviewpoint user delete 7 --hard --yes",
		Args:    one(oneUser),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := soft
			if hard {
				c = forGood
			}
			return a.changeUser(cmd.Context(), args[0], c, yes)
		},
	}
	command.Flags().BoolVar(&hard, "hard", false, "remove the row and the files for good, of a deleted account too")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask before --hard")
	return command
}

func (a *app) userExportCommand() *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:     "export USER",
		Short:   "Write all that is held about a person, as JSON",
		Example: "  reviewpoint user export ada@example.org --out ada.json",
		Args:    one(oneUser),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.withUser(ctx, args[0], func(s *models.Store, u *ent.User) error {
				if path == "" {
					return escaped(a.stdout, func(w io.Writer) error { return s.ExportSubject(ctx, u.ID, w) })
				}
				if err := toNewFile(path, func(w io.Writer) error { return s.ExportSubject(ctx, u.ID, w) }); err != nil {
					return err
				}
				return a.done(u, "export", "exported")
			}, models.WithReadOnly())
		},
	}
	command.Flags().StringVar(&path, "out", "", "a new `file` for it, which its owner alone may read, in place of standard output")
	return command
}
