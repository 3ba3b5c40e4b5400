package models_test

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
)

// TestAudit_Random lets all sorts of viewers make all sorts of changes. After each of them, the rows that
// it added to the trail turn what the trail was about into what is there, and nothing else is in them.
func TestAudit_Random(t *testing.T) {
	t.Parallel()
	steps, seed := 300, uint64(1)
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		steps, seed = 1500, rand.Uint64()
	}
	eachClock(t, someDay, func(t *testing.T, ctx context.Context, s *models.Store, c *fakeClock) {
		t.Log("the seed is", seed)
		r := &replay{Store: s, clock: c, rand: rand.New(rand.NewPCG(seed, 0)), rows: make(map[rowKey]map[string]any), done: make(map[string]int)}
		check(t, s.User.Create().SetEmail("admin@example.org").SetHashedPassword("hash").SetIsAdmin(true).Exec(ctx))
		r.follow(t, ctx, "the administrator", "system:test")
		for range steps {
			c.set(c.Now().Add(time.Duration(1+r.rand.IntN(48)) * time.Hour))
			if r.step(t, ctx); t.Failed() {
				return
			}
		}
		t.Log(r.done)
		for _, action := range []string{audit.Create, audit.Update, audit.SoftDelete, audit.Restore, audit.Anonymize, audit.Delete} {
			if !slices.ContainsFunc(r.trail, func(row *ent.AuditLog) bool { return row.Action == action }) {
				t.Errorf("nobody did %s", action)
			}
		}
	})
}

// replay is what the trail adds up to.
type replay struct {
	*models.Store

	clock *fakeClock
	rand  *rand.Rand
	rows  map[rowKey]map[string]any // without the columns that the trail leaves out
	begun map[rowKey]map[string]any // rows, before the last change
	trail []*ent.AuditLog
	done  map[string]int // how often each change was made
}

// step makes a change, or two in a transaction.
func (r *replay) step(t *testing.T, ctx context.Context) {
	t.Helper()
	admin := models.WithViewer(ctx, models.Viewer{UserID: 1, Admin: true})
	person := models.WithViewer(ctx, models.Viewer{UserID: r.id(user.Label)})
	viewers := []context.Context{ctx, ctx, ctx, ctx, admin, admin, person, models.AsAnonymous(ctx), t.Context()}
	as := viewers[r.rand.IntN(len(viewers))]
	viewer, _ := models.ViewerFrom(as)
	if r.rand.IntN(3) == 0 {
		as = models.IncludeDeleted(as)
	}
	changes := slices.Concat(r.changesOfUsers(), r.changesByMethods(), r.changesOfFiles())
	change := changes[r.rand.IntN(len(changes))]
	if r.rand.IntN(5) == 0 {
		first, second := change, changes[r.rand.IntN(len(changes))]
		end := []error{nil, nil, errOnPurpose}[r.rand.IntN(3)]
		change = randomChange{first.name + " and " + second.name, func(ctx context.Context) error {
			return r.InTx(ctx, func(ctx context.Context) error {
				if err := first.make(ctx); err != nil {
					return err
				}
				if err := second.make(ctx); err != nil {
					return err
				}
				return end
			})
		}}
	}
	err := change.make(as)
	if err == nil {
		r.done[change.name]++
	}
	_, invalid := errors.AsType[*models.ValidationError](err)
	if err != nil && !invalid && !slices.ContainsFunc([]error{
		models.ErrNoViewer, models.ErrForbidden, models.ErrNotFound, models.ErrEmailTaken, models.ErrUnique, models.ErrForeignKey,
		models.ErrInvalidCredentials, models.ErrAccountDisabled, models.ErrTokenUsed, stdsql.ErrNoRows, errOnPurpose,
	}, func(known error) bool { return errors.Is(err, known) }) {
		t.Errorf("%s by %s answers %v", change.name, viewer, err)
	}
	r.follow(t, ctx, fmt.Sprintf("%s by %s (%v)", change.name, viewer, err), viewer.String())
}

type randomChange struct {
	name string
	make func(ctx context.Context) error
}

// id is that of a row, or of none.
func (r *replay) id(entity string) int {
	ids := []int{424242}
	for key := range r.rows {
		if key.entity == entity {
			ids = append(ids, key.id)
		}
	}
	slices.Sort(ids)
	return ids[r.rand.IntN(len(ids))]
}

// email is one of few, so that they are taken at times.
func (r *replay) email() string {
	return fmt.Sprintf([]string{"p%d@example.org", " P%d@EXAMPLE.org"}[r.rand.IntN(2)], r.rand.IntN(12))
}

// word is one of few, so that some changes change nothing.
func (r *replay) word() string { return []string{"one", "two", "<ü&\u2028>"}[r.rand.IntN(3)] }

func (r *replay) changesOfUsers() []randomChange {
	var (
		id, other = r.id(user.Label), r.id(user.Label)
		one       = func() *ent.UserUpdateOne { return r.User.UpdateOneID(id) }
		some      = func() *ent.UserUpdate { return r.User.Update().Where(user.IDIn(id, other)) }
		create    = func() *ent.UserCreate { return r.User.Create().SetEmail(r.email()).SetHashedPassword(uuid.NewString()) }
		word      = r.word()
		yes       = r.rand.IntN(2) == 0
		object    = map[string]any{word: []any{r.rand.IntN(2), 1e300, 1.5, nil, word}}
	)
	return []randomChange{
		{"create", create().SetName(word).SetPreferences(object).SetTokensValidAfter(someDay).Exec},
		{"create deleted", create().SetIsDeleted(true).SetDeletedAt(someDay).Exec},
		{"create many", r.User.CreateBulk(create(), create().SetBio(word), create().SetIsAdmin(yes)).Exec},
		{"name", one().SetName(word).ClearBio().Exec},
		{"names", some().SetName(word).SetAvatarURL(word).Exec},
		{"clear", one().ClearName().ClearAvatarURL().ClearPreferences().Exec},
		{"preferences", some().SetPreferences(object).Exec},
		{"time", some().SetUpdatedAt(someDay).SetLastLoginAt(r.clock.Now()).Exec},
		{"flags", some().SetIsActive(yes).SetIsAdmin(yes).Exec},
		{"email", one().SetEmail(r.email()).Exec},
		{"hash", one().SetHashedPassword(uuid.NewString()).Exec},
		{"deleted", some().SetIsDeleted(yes).Exec},
		{"upsert", create().SetName(word).OnConflict(emailConflict()...).UpdateNewValues().Exec},
		{"upsert some", create().OnConflict(emailConflict()...).Update(func(set *ent.UserUpsert) { set.SetName(word).SetIsAdmin(yes) }).Exec},
		{"delete", r.User.DeleteOneID(id).Exec},
		{"delete some", func(ctx context.Context) error {
			_, err := r.User.Delete().Where(user.IDIn(id, other)).Exec(ctx)
			return err
		}},
		{"delete for good", func(ctx context.Context) error { return r.User.DeleteOneID(id).Exec(models.HardDelete(ctx)) }},
		{"by an edge", r.User.Update().Where(user.HasFilesWith(file.Filename(word))).SetBio(word).Exec},
	}
}

func (r *replay) changesByMethods() []randomChange {
	const password = "correct horse battery"
	var (
		id, email, word = r.id(user.Label), r.email(), r.word()
		nonce           = fmt.Sprint(r.rand.IntN(9))
		of              = func(do func(ctx context.Context, userID int) error) func(ctx context.Context) error {
			return func(ctx context.Context) error { return do(ctx, id) }
		}
		rows = fmt.Sprintf("email,name,is_active,preferences\n%s,%s,true,\n%s,,false,\"{\"\"a\"\": 1}\"\n", r.email(), word, r.email())
	)
	return []randomChange{
		{"Register", func(ctx context.Context) error {
			_, err := r.Register(ctx, email, password, func(m *ent.UserMutation) { m.SetName(word) })
			return err
		}},
		{"Authenticate", func(ctx context.Context) error { _, err := r.Authenticate(ctx, email, password); return err }},
		{"ChangePassword", func(ctx context.Context) error { return r.ChangePassword(ctx, id, password, password+"!") }},
		{"SetPassword", func(ctx context.Context) error { return r.SetPassword(ctx, id, password) }},
		{"ResetPassword", func(ctx context.Context) error { return r.ResetPassword(ctx, email, nonce, password) }},
		{"UpsertUser", func(ctx context.Context) error {
			_, err := r.UpsertUser(ctx, email, func(m *ent.UserMutation) { m.SetBio(word) })
			return err
		}},
		{"SoftDeleteUser", of(r.SoftDeleteUser)},
		{"RestoreUser", of(r.RestoreUser)},
		{"RestoreUser", of(r.RestoreUser)},
		{"DeactivateUser", of(r.DeactivateUser)},
		{"ReactivateUser", of(r.ReactivateUser)},
		{"RevokeAllTokens", of(r.RevokeAllTokens)},
		{"RecordLogin", func(ctx context.Context) error { return r.RecordLogin(ctx, id, r.clock.Now()) }},
		{"AnonymizeUser", of(r.AnonymizeUser)},
		{"PurgeExpired", func(ctx context.Context) error {
			_, err := r.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: 50 * 24 * time.Hour, Pause: -1})
			return err
		}},
		{"ImportUsers", func(ctx context.Context) error {
			_, err := r.ImportUsers(ctx, strings.NewReader(rows), models.ImportOptions{OnConflict: models.ConflictUpdate})
			return err
		}},
	}
}

func (r *replay) changesOfFiles() []randomChange {
	var (
		id, other = r.id(file.Label), r.id(file.Label)
		owner     = r.id(user.Label)
		word      = r.word()
		size      = r.rand.Int64N(1 << 50)
		create    = func() *ent.FileCreate {
			return r.File.Create().SetFilename(r.word()).SetContentType("text/plain").SetUserID(owner)
		}
	)
	return []randomChange{
		{"file", create().Exec},
		{"files", r.File.CreateBulk(create(), create()).Exec},
		{"CreateFiles", func(ctx context.Context) error {
			_, err := r.CreateFiles(ctx, owner, []models.NewFile{{Filename: word, ContentType: "a", Size: size}, {Filename: word, ContentType: "b"}})
			return err
		}},
		{"file name", r.File.UpdateOneID(id).SetFilename(word).SetSize(size).Exec},
		{"file sizes", r.File.Update().Where(file.IDIn(id, other)).AddSize(size % 3).Exec},
		{"file owner", r.File.UpdateOneID(id).SetUserID(owner).Exec},
		{"file time", r.File.UpdateOneID(id).SetUpdatedAt(someDay).Exec},
		{"file delete", r.File.DeleteOneID(id).Exec},
		{"file deletes", func(ctx context.Context) error {
			_, err := r.File.Delete().Where(file.Filename(word), file.HasUserWith(user.IDGT(2))).Exec(ctx)
			return err
		}},
		{"DeleteFiles", func(ctx context.Context) error { _, _, err := r.DeleteFiles(ctx, owner, []string{word}); return err }},
		{"ImportFiles", func(ctx context.Context) error {
			rows := fmt.Sprintf("user_email,filename,content_type,size\np1@example.org,%s,text/plain,%d\n", word, size%3)
			_, err := r.ImportFiles(ctx, strings.NewReader(rows), models.ImportOptions{OnConflict: models.ConflictUpdate})
			return err
		}},
	}
}

// follow reads what a change added to the trail, and compares.
func (r *replay) follow(t *testing.T, ctx context.Context, change, actor string) {
	t.Helper()
	is := r.there(t, ctx)
	var (
		forgets = strings.Contains(change, "Anonymize") || strings.Contains(change, "Purge")
		query   = r.AuditLog.Query().Order(auditlog.ByID())
		older   = r.trail
	)
	if len(older) > 50 && !forgets { // else it would be read again and again
		older = older[len(older)-50:]
		query.Where(auditlog.IDGTE(older[0].ID))
	}
	trail := must(query.All(ctx))(t)
	if len(trail) < len(older) {
		t.Fatalf("%s: the trail has %d rows, and %d before", change, len(trail), len(older))
	}
	for i, before := range older {
		if after := trail[i]; encode(t, after) != encode(t, before) && (!forgets || !forgotten(before, after)) {
			t.Errorf("%s: a row of the trail is %s, and was %s", change, encode(t, after), encode(t, before))
		}
	}
	trail = append(r.trail[:len(r.trail)-len(older):len(r.trail)-len(older)], trail...)
	r.begun = maps.Clone(r.rows)
	times := make(map[rowKey]int)
	for _, row := range trail[len(r.trail):] {
		key := rowKey{row.Entity, row.EntityID}
		if times[key]++; times[key] > 1 && !strings.Contains(change, " and ") && !strings.Contains(change, "Import") {
			t.Errorf("%s: %+v is in the trail more than once", change, key)
		}
		if row.Actor != actor || !row.At.Equal(r.clock.Now().Truncate(time.Microsecond)) || row.Action == audit.Anonymize && !forgets {
			t.Errorf("%s: the trail has %s", change, encode(t, row))
		}
		if err := r.add(row, is[key], forgets); err != nil {
			t.Errorf("%s: %v: %s", change, err, encode(t, row))
		}
	}
	for key, columns := range is {
		if _, known := r.rows[key]; !known && key.entity == file.Label {
			r.rows[key] = columns
		}
	}
	if !reflect.DeepEqual(r.rows, is) {
		for key := range r.rows {
			if !reflect.DeepEqual(r.rows[key], is[key]) {
				t.Errorf("%s: %+v is %v, and by the trail %v", change, key, is[key], r.rows[key])
			}
		}
		t.Errorf("%s: %d rows are there, and by the trail %d", change, len(is), len(r.rows))
	}
	r.trail = trail
}

// there are the rows, without the columns that the trail leaves out.
func (r *replay) there(t *testing.T, ctx context.Context) map[rowKey]map[string]any {
	t.Helper()
	rows := make(map[rowKey]map[string]any)
	for _, u := range must(r.User.Query().All(models.IncludeDeleted(ctx)))(t) {
		columns := asJSON(t, u.ToMap())
		delete(columns, user.FieldLastLoginAt)
		columns[user.FieldHashedPassword] = u.HashedPassword
		rows[rowKey{user.Label, u.ID}] = columns
	}
	for _, f := range must(r.File.Query().All(ctx))(t) {
		rows[rowKey{file.Label, f.ID}] = asJSON(t, f.ToMap())
	}
	for _, columns := range rows {
		delete(columns, user.FieldID)
		delete(columns, user.FieldUpdatedAt)
	}
	return rows
}

// add makes the change of a row of the trail, whose columns are these now. What is redacted is taken from
// there.
func (r *replay) add(row *ent.AuditLog, now map[string]any, forgets bool) error {
	key := rowKey{row.Entity, row.EntityID}
	state, known := r.rows[key]
	if known == (row.Action == audit.Create) && (known || row.Entity == user.Label) {
		return fmt.Errorf("%s of what is %v", row.Action, state)
	}
	state = maps.Clone(state)
	if state == nil { // of a file that was made in the same transaction, the rest is what it is now
		state = maps.Clone(now)
		for column, pair := range row.Changes {
			if state == nil {
				state = make(map[string]any)
			}
			state[column] = pair.([]any)[0]
		}
	}
	if len(row.Changes) == 0 {
		return errors.New("nothing was changed")
	}
	action := audit.Update
	deletion, changed := row.Changes[user.FieldIsDeleted].([]any)
	switch {
	case row.Action == audit.Create || row.Action == audit.Delete || row.Action == audit.Anonymize:
		action = row.Action
	case changed && reflect.DeepEqual(deletion, []any{false, true}):
		action = audit.SoftDelete
	case changed:
		action = audit.Restore
	}
	if row.Action != action {
		return fmt.Errorf("want %s", action)
	}
	for column, pair := range row.Changes {
		was, is := pair.([]any)[0], pair.([]any)[1]
		secret := column == user.FieldHashedPassword
		switch redacted := was == audit.Redacted || is == audit.Redacted; {
		case secret && !redacted, redacted && !secret && !forgets:
			return fmt.Errorf("%s shows too much or too little", column)
		case redacted && is != nil:
			if is = now[column]; secret && is == r.begun[key][column] {
				return fmt.Errorf("%s is what it was", column)
			}
		case redacted:
		case reflect.DeepEqual(was, is):
			return fmt.Errorf("%s is what it was", column)
		case !reflect.DeepEqual(was, state[column]):
			return fmt.Errorf("%s was %v", column, state[column])
		}
		state[column] = is
	}
	for column, value := range state {
		if row.Action == audit.Delete && value != nil {
			return fmt.Errorf("%s is not said to have been %v", column, value)
		}
	}
	r.rows[key] = state
	if row.Action == audit.Create { // where what is NULL is left out
		for column := range now {
			if _, said := row.Changes[column]; !said {
				state[column] = nil
			}
		}
	}
	if row.Action == audit.Delete {
		delete(r.rows, key)
	}
	return nil
}

// forgotten reports whether a row of the trail is as before but for personal values that are redacted.
func forgotten(before, after *ent.AuditLog) bool {
	for column, pair := range after.Changes {
		for i, value := range pair.([]any) {
			if was := before.Changes[column].([]any)[i]; value == audit.Redacted && was != nil {
				before.Changes[column].([]any)[i] = value
			}
		}
	}
	return before.Entity == user.Label && before.ID == after.ID && before.At.Equal(after.At) && before.Actor == after.Actor &&
		before.Action == after.Action && before.EntityID == after.EntityID && reflect.DeepEqual(before.Changes, after.Changes)
}
