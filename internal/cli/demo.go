package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Short:   "Run the main job end to end on the database, as a short story",
		Long:    "Run the main job end to end on the database, as a short story. It adds three people with addresses of their own at each run, and changes nothing that was there.",
		Example: "  reviewpoint demo --db sqlite://demo.db",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(s *models.Store) error {
				d := &demo{Store: s, out: a.stdout, run: uuid.NewString()[:8], secret: rand.Text()}
				return d.tell(cmd.Context())
			})
		},
	}
}

// demo is a story in chapters, each of which needs the one before.
type demo struct {
	*models.Store

	out               io.Writer
	run               string // makes the addresses of this run its own
	secret            string // of the passwords, which nobody knows who sees the addresses
	ada, linus, julia *ent.User
}

func (d *demo) tell(ctx context.Context) error {
	fmt.Fprintf(d.out, "ReviewPoint on %s (%s)\n", d.Name(), d.Dialect())
	for _, chapter := range []func(context.Context) error{
		d.migrate, d.signUp, d.upload, d.logOut, d.resetPassword, d.undo, d.leave, d.trail,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.out, "\nThat was all of it. Run it again, or look with `reviewpoint doctor`.")
	return nil
}

func (d *demo) headingf(format string, args ...any) { fmt.Fprintf(d.out, "\n"+format+"\n", args...) }

// table prints rows under their headings.
func (d *demo) table(headings string, rows func(row func(format string, args ...any))) error {
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  "+headings)
	rows(func(format string, args ...any) { fmt.Fprintf(w, "  "+format+"\n", args...) })
	return w.Flush()
}

func (d *demo) migrate(ctx context.Context) error {
	report, err := d.Migrate(ctx)
	if err != nil {
		return err
	}
	d.headingf("1. The schema is brought up to date: %d migrations applied.", len(report.Applied))
	for _, migration := range report.Applied {
		fmt.Fprintf(d.out, "  %s\n", migration.Name)
	}
	return nil
}

func (d *demo) address(name string) string { return name + "-" + d.run + "@example.org" }

// password is a new one of the person's at each run.
func (d *demo) password(name string) string { return name + " rides a horse " + d.secret }

func (d *demo) signUp(ctx context.Context) error {
	var err error
	for _, person := range []struct {
		account **ent.User
		name    string
		admin   bool
	}{{&d.ada, "Ada", true}, {&d.linus, "Linus", false}, {&d.julia, "Юля", false}} {
		who := models.AsAnonymous(ctx)
		if person.admin { // whom the system makes
			who = ctx
		}
		*person.account, err = d.Register(who, " "+d.address(person.name)+" ", d.password(person.name), func(m *ent.UserMutation) {
			m.SetName(person.name)
			m.SetPreferences(map[string]any{"theme": "dark", "reviews": map[string]any{"open": true}})
			if person.admin {
				m.SetIsAdmin(true)
			}
		})
		if err != nil {
			return fmt.Errorf("sign up: %w", err)
		}
	}
	d.headingf("2. Three people sign up. An address has one form, however it is written, and a password is kept as a hash of Argon2id.")
	return d.table("ID\tEMAIL\tNAME\tROLE\tCREATED AT", func(row func(string, ...any)) {
		for _, u := range []*ent.User{d.ada, d.linus, d.julia} {
			row("%d\t%s\t%s\t%s\t%s", u.ID, u.Email, *u.Name, u.Role(), u.CreatedAt.Format(time.RFC3339))
		}
	})
}

func (d *demo) upload(ctx context.Context) error {
	owners := []*ent.User{d.linus, d.linus, d.julia}
	files := make([]*ent.FileCreate, 0, len(owners))
	for i, owner := range owners {
		files = append(files, d.File.Create().SetFilename(fmt.Sprintf("статья %d.pdf", i+1)).
			SetContentType("application/pdf").SetSize(int64(i+1)*52_428).SetUser(owner))
	}
	if err := d.File.CreateBulk(files...).Exec(ctx); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	// One query for the people and one for all their files.
	people, err := d.User.Query().Where(user.IDIn(d.linus.ID, d.julia.ID)).Order(user.ByID()).
		WithFiles(func(q *ent.FileQuery) { q.Order(file.ByID()) }).All(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	d.headingf("3. They upload papers; each hangs on its owner's edge.")
	return d.table("FILE\tBYTES\tOWNER", func(row func(string, ...any)) {
		for _, u := range people {
			for _, f := range u.Edges.Files {
				row("%s\t%d\t%s", f.Filename, f.Size, *u.Name)
			}
		}
	})
}

func (d *demo) logOut(ctx context.Context) error {
	visitor := models.AsAnonymous(ctx)
	linus, err := d.Authenticate(visitor, d.linus.Email, d.password("Linus"))
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	claims := d.NewClaims(linus, time.Hour)
	before := d.CheckToken(visitor, claims)
	if err := d.RevokeToken(models.AsUser(ctx, linus), claims.ID, claims.ExpiresAt); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	after := d.CheckToken(visitor, claims)
	if before != nil || !errors.Is(after, models.ErrTokenRevoked) {
		return fmt.Errorf("check: %w", errors.Join(before, after))
	}
	d.headingf("4. Linus logs in, and out again: his token is on the blacklist until it expires.")
	return d.table("JTI\tEXPIRES AT\tLOGGED IN\tLOGGED OUT", func(row func(string, ...any)) {
		row("%s\t%s\taccepted\trefused (%v)", claims.ID, claims.ExpiresAt.Format(time.RFC3339), after)
	})
}

func (d *demo) resetPassword(ctx context.Context) error {
	visitor := models.AsAnonymous(ctx)
	linus, err := d.Authenticate(visitor, d.linus.Email, d.password("Linus"))
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	elsewhere := d.NewClaims(linus, time.Hour)
	reset := func() error {
		return d.ResetPassword(visitor, d.linus.Email, "nonce-"+d.run, d.password("Linus again"))
	}
	if err := reset(); err != nil {
		return fmt.Errorf("reset the password: %w", err)
	}
	again := reset()
	_, old := d.Authenticate(visitor, d.linus.Email, d.password("Linus"))
	token := d.CheckToken(visitor, elsewhere)
	if !errors.Is(again, models.ErrTokenUsed) || !errors.Is(old, models.ErrInvalidCredentials) || !errors.Is(token, models.ErrTokenRevoked) {
		return fmt.Errorf("after the reset: %w", errors.Join(again, old, token))
	}
	d.headingf("5. Linus resets his password. The link counts once, and what he had before counts no more:")
	fmt.Fprintf(d.out, "  the link again: refused (%v)\n  the old password: refused (%v)\n  a token from before: refused (%v)\n", again, old, token)
	return nil
}

func (d *demo) undo(ctx context.Context) error {
	changed := errors.New("he changed his mind")
	err := d.InTx(ctx, func(ctx context.Context) error {
		if err := d.User.UpdateOne(d.linus).SetName("Linux").Exec(ctx); err != nil {
			return err
		}
		return changed
	})
	if !errors.Is(err, changed) {
		return fmt.Errorf("rename: %w", err)
	}
	linus, err := d.User.Get(ctx, d.linus.ID)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	d.headingf("6. A transaction that fails leaves nothing behind: Linus takes another name, but %v, and is still %s.", changed, *linus.Name)
	return nil
}

func (d *demo) leave(ctx context.Context) error {
	if err := d.SoftDeleteUser(ctx, d.linus.ID); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	again, err := d.Register(models.AsAnonymous(ctx), d.linus.Email, d.password("Linus"), func(m *ent.UserMutation) { m.SetName("Linus II") })
	if err != nil {
		return fmt.Errorf("sign up again: %w", err)
	}
	found, err := d.User.Query().Where(user.Email(d.linus.Email)).Count(ctx)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	kept := models.IncludeDeleted(ctx)
	rows, err := d.User.Query().Where(user.Email(d.linus.Email)).Order(user.ByID()).All(kept)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	files, err := d.linus.QueryFiles().Count(kept)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	d.headingf("7. Linus leaves. His address is free for somebody else (id %d), and a query finds %d account with it. His row and his %d files are kept for whoever asks for deleted ones too:", again.ID, found, files)
	return d.table("ID\tEMAIL\tNAME\tDELETED AT", func(row func(string, ...any)) {
		for _, u := range rows {
			at := "-"
			if u.DeletedAt != nil {
				at = u.DeletedAt.Format(time.RFC3339)
			}
			row("%d\t%s\t%s\t%s", u.ID, u.Email, *u.Name, at)
		}
	})
}

// trail shows what was recorded of Linus, and that he himself may do little.
func (d *demo) trail(ctx context.Context) error {
	asJulia := models.AsUser(ctx, d.julia)
	mine, err := d.User.Query().Count(asJulia)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	err = d.User.UpdateOne(d.julia).SetIsAdmin(true).Exec(asJulia)
	if !errors.Is(err, models.ErrForbidden) {
		return fmt.Errorf("a user made herself an administrator: %w", err)
	}
	rows, err := d.AuditLog.Query().Where(auditlog.Entity(user.Label), auditlog.EntityID(d.linus.ID)).Order(auditlog.ByID()).All(ctx)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	d.headingf("8. Юля asks for all users and gets %d, herself; to make herself an administrator is refused. Each change is on record, without its secrets. That of Linus:", mine)
	return d.table("AT\tACTOR\tACTION\tCHANGED", func(row func(string, ...any)) {
		for _, r := range rows {
			row("%s\t%s\t%s\t%s", r.At.Format(time.RFC3339), r.Actor, r.Action, strings.Join(slices.Sorted(maps.Keys(r.Changes)), ", "))
		}
	})
}
