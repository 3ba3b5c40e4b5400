package models

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/internal/privilege"
)

// What an account says about a person.
var (
	profile  = []string{user.FieldName, user.FieldBio, user.FieldAvatarURL, user.FieldPreferences}
	personal = append([]string{user.FieldEmail, user.FieldLastLoginAt}, profile...)
)

// AnonymizeUser takes from an account, deleted or not, whatever tells whose it is: address, password, name,
// bio, avatar, preferences and login time, the addresses in password resets, and the values of these in
// the audit trail. The account is disabled, and no administrator's any more. Its id, public id and files
// stay, and so do the names of deleted files in the trail until it is purged by age. It cannot be undone.
//
// Earlier addresses of the account are known from the audit trail alone: keep that for as long as password
// resets. Links to reset the password must have expired, or one that has counted for the address would
// count again for another account with that address.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that is
// not there. It is one transaction, and may run inside InTx.
func (s *Store) AnonymizeUser(ctx context.Context, userID int) error {
	if err := s.allow(ctx, "anonymize accounts", func(v Viewer) bool { return v.Admin }); err != nil {
		return err
	}
	ctx = privilege.Raise(IncludeDeleted(ctx), ent.TypeUser, ent.TypeUsedPasswordResetToken)
	return s.InTx(ctx, func(ctx context.Context) error {
		u, err := s.locked(user.ID(userID)).Only(ctx)
		if err != nil {
			return err
		}
		if err := s.forgetResets(ctx, u); err != nil { // while an administrator's own account is in use
			return err
		}
		err = s.User.UpdateOne(u).
			SetEmail(anonymousAddress()).SetHashedPassword(password.None).SetIsActive(false).SetIsAdmin(false).
			ClearName().ClearBio().ClearAvatarURL().ClearPreferences().
			SetTokensValidAfter(s.moment(ctx)).ClearLastLoginAt().
			Exec(audit.Anonymizing(ctx, personal))
		if err != nil {
			return err
		}
		return s.forgetChanges(ctx, userID)
	})
}

// anonymousAddress is one that nobody can have (RFC 2606).
func anonymousAddress() string { return uuid.NewString() + "@anonymous.invalid" }

// forgetResets gives the password resets of an account other addresses.
func (s *Store) forgetResets(ctx context.Context, u *ent.User) error {
	held, err := s.resetsOf(ctx, u)
	if err != nil {
		return err
	}
	for _, resets := range held { // A nonce may have counted for two addresses.
		if err := s.UsedPasswordResetToken.Update().Where(resets).SetEmail(anonymousAddress()).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// resetsOf matches the password resets of an account, one for each time that it held an address: while it
// is deleted, the address may be somebody else's.
func (s *Store) resetsOf(ctx context.Context, u *ent.User) (held []predicate.UsedPasswordResetToken, err error) {
	var (
		times [][]predicate.UsedPasswordResetToken // of the address that the trail has come to
		since = u.CreatedAt.Add(-clockSkew)        // The account may have been made by another clock.
		alive = true
	)
	until := func(at time.Time) {
		if alive {
			times = append(times, []predicate.UsedPasswordResetToken{usedpasswordresettoken.UsedAtGTE(since), usedpasswordresettoken.UsedAtLTE(at)})
		}
		since = at
	}
	keep := func(address string) {
		for _, during := range times {
			held = append(held, usedpasswordresettoken.And(append(during, usedpasswordresettoken.Email(address))...))
		}
		times = nil
	}
	err = s.eachChange(ctx, changesOf(u.ID), func(row *ent.AuditLog) error {
		if old, _, changed := change[string](row, user.FieldEmail); changed {
			until(row.At)
			keep(old)
		}
		if _, deleted, changed := change[bool](row, user.FieldIsDeleted); changed {
			until(row.At)
			alive = !deleted
		}
		return nil
	})
	switch {
	case u.DeletedAt != nil && alive: // without a row of the trail
		until(*u.DeletedAt)
	case alive: // by whatever clock
		times = append(times, []predicate.UsedPasswordResetToken{usedpasswordresettoken.UsedAtGTE(since)})
	}
	keep(u.Email)
	return held, err
}

// change returns what a row of the trail says of a column that had a value before and after.
func change[T any](row *ent.AuditLog, column string) (before, after T, changed bool) {
	values, _ := row.Changes[column].([]any)
	if len(values) != 2 {
		return before, after, false
	}
	before, had := values[0].(T)
	after, has := values[1].(T)
	return before, after, had && has
}

func changesOf(userID int) predicate.AuditLog {
	return auditlog.And(auditlog.Entity(user.Label), auditlog.EntityID(userID))
}

// forgetChanges redacts the personal values in the audit trail of an account.
func (s *Store) forgetChanges(ctx context.Context, userID int) error {
	return s.eachChange(ctx, changesOf(userID), func(row *ent.AuditLog) error {
		if !audit.Forget(row.Changes, personal) {
			return nil
		}
		changes, err := json.Marshal(row.Changes)
		if err != nil {
			return err
		}
		// The client has no way to change the trail.
		_, err = s.ExecContext(ctx, "UPDATE audit_logs SET changes = $1, updated_at = $2 WHERE id = $3", string(changes), s.moment(ctx), row.ID)
		return err
	})
}

// page is how many rows are read at a time.
const page = 500

// eachChange reads the rows of the trail in order.
func (s *Store) eachChange(ctx context.Context, which predicate.AuditLog, do func(*ent.AuditLog) error) error {
	for last := 0; ; {
		rows, err := s.AuditLog.Query().Where(which, auditlog.IDGT(last)).Order(auditlog.ByID()).Limit(page).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := do(row); err != nil {
				return err
			}
			last = row.ID
		}
		if len(rows) < page {
			return nil
		}
	}
}

// ExportSubject writes all that is held about a person as one JSON object: exported_at, user, files,
// password_resets, changes (the audit trail of the account and its files), and actions (what the person
// did to others, without their values). It holds no secret: neither the hash of the password nor the
// nonces of resets. Deleted accounts can be exported too. It reads page by page, so it needs little
// memory, and may show what changes meanwhile before or after the change.
//
// The person, administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an
// account that is not there, and the errors of w. It may run inside InTx, whose snapshot it then shows.
func (s *Store) ExportSubject(ctx context.Context, userID int, w io.Writer) error {
	err := s.allow(ctx, "export another account", func(v Viewer) bool { return v.Admin || v.UserID == userID })
	if err != nil {
		return err
	}
	ctx = privilege.Raise(IncludeDeleted(ctx), ent.TypeUsedPasswordResetToken, ent.TypeAuditLog)
	u, err := s.User.Get(ctx, userID)
	if err != nil {
		return err
	}
	e := &export{Store: s, w: w, u: u}
	e.value("{\n  \"exported_at\": ", s.moment(ctx))
	e.value(",\n  \"user\": ", u)
	e.list("files", func() error { return e.files(ctx) })
	e.list("password_resets", func() error { return e.resets(ctx) })
	e.list("changes", func() error {
		return s.eachChange(ctx, e.changes(), func(row *ent.AuditLog) error { return e.item(e.own(row)) })
	})
	e.list("actions", func() error {
		acts := auditlog.And(auditlog.Actor(Viewer{UserID: u.ID}.String()), auditlog.Not(e.changes()))
		return s.eachChange(ctx, acts, func(row *ent.AuditLog) error {
			return e.item(map[string]any{"at": row.At, "action": row.Action, "entity": row.Entity, "entity_id": row.EntityID})
		})
	})
	e.text("\n}\n")
	return e.err
}

// export writes JSON until something fails.
type export struct {
	*Store

	w     io.Writer
	u     *ent.User
	items int // in the list that is being written
	err   error
}

func (e *export) text(text string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.w, text)
	}
}

func (e *export) value(before string, value any) {
	e.text(before)
	encoded, err := json.Marshal(value)
	if e.err == nil {
		e.err = err
	}
	e.text(string(encoded))
}

func (e *export) list(name string, items func() error) {
	e.text(fmt.Sprintf(",\n  %q: [", name))
	e.items = 0
	if e.err == nil {
		e.err = items()
	}
	e.text("]")
}

func (e *export) item(value any) error {
	before := ",\n    "
	if e.items == 0 {
		before = "\n    "
	}
	e.items++
	e.value(before, value)
	return e.err
}

func (e *export) files(ctx context.Context) error {
	for last := 0; ; {
		rows, err := e.File.Query().Where(file.UserID(e.u.ID), file.IDGT(last)).Order(file.ByID()).Limit(page).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := e.item(row); err != nil {
				return err
			}
			last = row.ID
		}
		if len(rows) < page {
			return nil
		}
	}
}

func (e *export) resets(ctx context.Context) error {
	held, err := e.resetsOf(ctx, e.u)
	if err != nil || len(held) == 0 {
		return err
	}
	rows, err := e.UsedPasswordResetToken.Query().Where(usedpasswordresettoken.Or(held...)).Order(usedpasswordresettoken.ByID()).All(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := e.item(map[string]any{"email": row.Email, "used_at": row.UsedAt}); err != nil {
			return err
		}
	}
	return nil
}

// own redacts what a file was with somebody else in a change that moved it.
func (e *export) own(row *ent.AuditLog) *ent.AuditLog {
	owners, _ := row.Changes[file.FieldUserID].([]any)
	for i, owner := range owners {
		if owner == nil || owner == float64(e.u.ID) {
			continue
		}
		for column, values := range row.Changes {
			if pair, _ := values.([]any); column != file.FieldUserID && i < len(pair) {
				pair[i] = audit.Redacted
			}
		}
	}
	return row
}

// changes matches the trail of the account, and of each file while it was the account's: until the next row
// that gives it to somebody, or takes it away.
func (e *export) changes() predicate.AuditLog {
	owner := "json_extract(%s.changes, '$.user_id[%d]')"
	if e.Dialect() == dialect.Postgres {
		owner = "CAST(%s.changes #>> '{user_id,%d}' AS bigint)"
	}
	before, after := fmt.Sprintf(owner, auditlog.Table, 0), fmt.Sprintf(owner, auditlog.Table, 1)
	next := fmt.Sprintf(owner, "later", 0)
	return auditlog.Or(changesOf(e.u.ID), auditlog.And(auditlog.Entity(file.Label), func(s *sql.Selector) {
		s.Where(sql.P(func(b *sql.Builder) {
			b.WriteString("(COALESCE(" + before + " = ").Arg(e.u.ID).WriteString(", FALSE) OR COALESCE(" + after + " = ").Arg(e.u.ID)
			b.WriteString(", FALSE) OR " + before + " IS NULL AND " + after + " IS NULL AND COALESCE(COALESCE((SELECT " + next +
				" FROM audit_logs AS later WHERE later.entity = audit_logs.entity AND later.entity_id = audit_logs.entity_id AND later.id > audit_logs.id AND " +
				next + " IS NOT NULL ORDER BY later.id LIMIT 1), (SELECT user_id FROM files WHERE files.id = audit_logs.entity_id)) = ").Arg(e.u.ID).WriteString(", FALSE))")
		}))
	}))
}
