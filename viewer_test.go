package models_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/internal/policy"
)

func TestViewerFrom(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	if v, ok := models.ViewerFrom(ctx); ok {
		t.Errorf("%v asks in a context that names nobody", v)
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want models.Viewer
	}{
		{"anonymous", models.AsAnonymous(ctx), models.Viewer{}},
		{"system", models.AsSystem(ctx, "purge"), models.Viewer{System: true, Label: "purge"}},
		{"user", models.AsUser(ctx, &ent.User{ID: 7}), models.Viewer{UserID: 7}},
		{"admin", models.AsUser(ctx, &ent.User{ID: 8, IsAdmin: true}), models.Viewer{UserID: 8, Admin: true}},
		{"no user", models.AsUser(ctx, nil), models.Viewer{}},
		{"viewer", models.WithViewer(ctx, models.Viewer{UserID: 9, Label: "api"}), models.Viewer{UserID: 9, Label: "api"}},
		{"the last one counts", models.AsAnonymous(models.AsSystem(ctx, "x")), models.Viewer{}},
		{"kept", models.HardDelete(models.IncludeDeleted(models.AsSystem(ctx, "y"))), models.Viewer{System: true, Label: "y"}},
	} {
		if v, ok := models.ViewerFrom(tt.ctx); !ok || v != tt.want {
			t.Errorf("%s: %v asks, want %v", tt.name, v, tt.want)
		}
	}
}

// TestViewer_Impossible tries viewers that cannot be anybody, or not any more, with all operations of the
// client and all methods: a sentinel, and nothing changed.
func TestViewer_Impossible(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		all := w.everything(t, ctx)
		gone := must(newUser(s).SetIsAdmin(true).Save(ctx))(t)
		check(t, newFile(s, gone).Exec(ctx))
		check(t, s.SoftDeleteUser(ctx, gone.ID))
		disabled := must(newUser(s).SetIsActive(false).SetIsAdmin(true).Save(ctx))(t)
		for _, tt := range []struct {
			name   string
			viewer models.Viewer
			reads  string // what becomes of them: what an administrator's word allows, though not to change anything
		}{
			{"negative id", models.Viewer{UserID: -1}, "no"},
			{"negative id of an administrator", models.Viewer{UserID: -1, Admin: true}, "no"},
			{"administrator without a name", models.Viewer{Admin: true}, "no"},
			{"unknown id", models.Viewer{UserID: 424242}, "hidden"},
			{"largest id", models.Viewer{UserID: math.MaxInt}, "hidden"},
			{"unknown administrator", models.Viewer{UserID: 424242, Admin: true}, "yes"},
			{"deleted user", models.Viewer{UserID: gone.ID}, "hidden"},
			{"deleted administrator", models.Viewer{UserID: gone.ID, Admin: true}, "yes"},
			{"no administrator any more", models.Viewer{UserID: w.target.ID, Admin: true}, "yes"},
			{"disabled administrator", models.Viewer{UserID: disabled.ID, Admin: true}, "yes"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := w.dump(t, ctx)
				as := models.WithViewer(ctx, tt.viewer)
				for name, call := range all {
					want := "no"
					switch {
					case tt.reads == "no":
					case name == "CheckToken", name == "TokenRevoked": // whose token it is, is not asked
						want = "yes"
					case call.reads && name != "ExportSubject" && name != "ExportUsers with hashed_password":
						want = tt.reads
					}
					n, err := call.operation(as)
					if got := outcome(n, err); got != want && (want != "hidden" || got != "no") {
						t.Errorf("%s: %s (%v), want %s", name, got, err, want)
					}
				}
				for name, err := range map[string]error{
					"update own":         s.User.UpdateOneID(tt.viewer.UserID).SetName("n").Exec(as),
					"create own files":   s.File.CreateBulk(newFile(s, &ent.User{ID: tt.viewer.UserID}), newFile(s, &ent.User{ID: tt.viewer.UserID})).Exec(as),
					"CreateFiles":        manyFiles(as, s, tt.viewer.UserID, 1),
					"update with InTx":   s.InTx(as, func(ctx context.Context) error { return s.User.Update().SetBio("b").Exec(ctx) }),
					"update the deleted": s.User.Update().SetName("n").Exec(models.IncludeDeleted(as)),
				} {
					if !errors.Is(err, models.ErrForbidden) {
						t.Errorf("%s: %v, want ErrForbidden", name, err)
					}
				}
				if w.dump(t, ctx) != before {
					t.Error("something changed")
				}
			})
		}
	})
}

// TestViewer_EndedContexts tries all operations of the client and all methods in the context of a
// transaction that has ended, in whatever way, and in one that is cancelled: a sentinel, and nothing changed.
func TestViewer_EndedContexts(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		w := newWorld(t, ctx, s)
		all := w.everything(t, ctx)
		all["InTx"] = call{operation: func(ctx context.Context) (int, error) {
			return 1, s.InTx(ctx, func(ctx context.Context) error { return newFile(s, w.target).Exec(ctx) })
		}}
		ended := func(end func() error) (ended context.Context) {
			defer func() { _ = recover() }()
			_ = s.InTx(ctx, func(ctx context.Context) error {
				ended = ctx //nolint:fatcontext // The test is about a context that outlives its transaction.
				check(t, s.User.UpdateOne(w.other).SetName("in").Exec(ctx))
				return end()
			})
			return ended
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		for name, tt := range map[string]struct {
			ctx  context.Context
			want error
		}{
			"committed":   {ended(func() error { return nil }), models.ErrTxDone},
			"rolled back": {ended(func() error { return errOnPurpose }), models.ErrTxDone},
			"panicked":    {ended(func() error { panic("on purpose") }), models.ErrTxDone},
			"cancelled":   {canceled, context.Canceled},
		} {
			t.Run(name, func(t *testing.T) {
				before := w.dump(t, ctx)
				for name, call := range all {
					never := strings.HasPrefix(name, "audit_logs ") || slices.Contains([]string{"users add files", "users remove files", "files upsert"}, name)
					for _, as := range []context.Context{tt.ctx, models.AsUser(tt.ctx, w.target), models.AsUser(tt.ctx, w.admin)} {
						n, err := call.operation(as)
						refused := outcome(n, err) == "no" || outcome(n, err) == "not audited"
						if !errors.Is(err, tt.want) && (!refused || as == tt.ctx && !never) {
							v, _ := models.ViewerFrom(as)
							t.Errorf("%s by %s: %v, want %v", name, v, err, tt.want)
						}
					}
				}
				if w.dump(t, ctx) != before {
					t.Error("something changed")
				}
			})
		}
	})
}

func TestViewer_String(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]models.Viewer{
		"anonymous":                          {},
		"user:7":                             {UserID: 7, Label: "not shown"},
		"user:8":                             {UserID: 8, Admin: true},
		"user:9":                             {UserID: 9, Admin: true, Label: "not shown"},
		"admin:ops":                          {Admin: true, Label: "ops"},
		"system:job":                         {System: true, UserID: 7, Label: "job"},
		"system":                             {System: true},
		"system:bad\uFFFDlabel\uFFFD":        {System: true, Label: "bad\x00label\xff"},
		"system:" + strings.Repeat("я", 248): {System: true, Label: strings.Repeat("я", 300)},
	} {
		if got := v.String(); got != want {
			t.Errorf("%#v is %q, want %q", v, got, want)
		}
	}
}

// TestViewer_Labels puts every label in the trail, however odd.
func TestViewer_Labels(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		for _, label := range []string{"", "задание", "bad\x00label\xff", strings.Repeat("🦉", 400)} {
			as := models.AsSystem(ctx, label)
			u := must(newUser(s).Save(as))(t)
			v, _ := models.ViewerFrom(as)
			if got := must(s.AuditLog.Query().Where(auditlog.EntityID(u.ID)).Only(ctx))(t).Actor; got != v.String() {
				t.Errorf("actor is %q, want %q", got, v)
			}
		}
	})
}

// TestViewer_NotLookedUp has the look-up of the account fail: then nothing is allowed.
func TestViewer_NotLookedUp(t *testing.T) {
	t.Parallel()
	s := models.OpenTest(t)
	for name, query := range map[string]string{
		"no answer":      "SELECT",
		"no truth value": "SELECT 'yes'",
		"half an answer": "SELECT abs(-9223372036854775808)", // which fails with the first row
	} {
		err := policy.InUse(t.Context(), answer{s, query}, models.Viewer{UserID: 1})
		if err == nil || errors.Is(err, models.ErrForbidden) {
			t.Errorf("%s: got %v, want what is wrong with the database", name, err)
		}
	}
	if err := policy.InUse(t.Context(), answer{s, "SELECT"}, models.Viewer{System: true, UserID: 1}); err != nil {
		t.Errorf("the system is nobody's account: %v", err)
	}
	if _, err := policy.Asking(models.WithViewer(t.Context(), models.Viewer{System: true, Admin: true})); err != nil {
		t.Errorf("the system needs no name: %v", err)
	}
}

// answer is a database that is always asked the same.
type answer struct {
	asks

	query string
}

func (a answer) QueryContext(ctx context.Context, _ string, _ ...any) (*sql.Rows, error) {
	return a.asks.QueryContext(ctx, a.query)
}
