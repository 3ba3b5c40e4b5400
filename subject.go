package models

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
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

// anonymousDomain is one that nobody can have (RFC 2606).
const anonymousDomain = "anonymous.invalid"

// AnonymizeUser takes from an account, deleted or not, whatever tells whose it is: address, password, name,
// bio, avatar, preferences and login time, the address in password resets, and the values of these in
// the audit trail. The account is disabled, and no administrator's any more. Its id, public id and files
// stay; files whose names tell too much are deleted before. It cannot be undone.
//
// Links to reset the password must have expired, or one that has counted for the address would count again
// for another account with that address.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that is
// not there. It is one transaction, and may run inside InTx.
func (s *Store) AnonymizeUser(ctx context.Context, userID int) error {
	if err := s.allow(ctx, "anonymize accounts", func(v Viewer) bool { return v.Admin }); err != nil {
		return err
	}
	ctx = privilege.Raise(IncludeDeleted(ctx), ent.TypeUser, ent.TypeUsedPasswordResetToken, ent.TypeAuditLog)
	return s.InTx(ctx, func(ctx context.Context) error {
		u, err := s.locked(user.ID(userID)).Only(ctx)
		if err != nil {
			return err
		}
		address := uuid.NewString() + "@" + anonymousDomain
		resets, err := s.resetsOf(ctx, u)
		if err != nil {
			return err
		}
		err = s.User.UpdateOne(u).
			SetEmail(address).SetHashedPassword(password.None).SetIsActive(false).SetIsAdmin(false).
			ClearName().ClearBio().ClearAvatarURL().ClearPreferences().ClearLastLoginAt().
			SetTokensValidAfter(s.moment(ctx)).
			Exec(audit.Anonymizing(ctx, personal))
		if err != nil {
			return err
		}
		if err := s.UsedPasswordResetToken.Update().Where(resets).SetEmail(address).Exec(ctx); err != nil {
			return err
		}
		return s.forget(ctx, userID)
	})
}

// resetsOf matches the password resets of an account: by the addresses that it has had, while it had them.
func (s *Store) resetsOf(ctx context.Context, u *ent.User) (predicate.UsedPasswordResetToken, error) {
	had := func(address string, from, until time.Time) predicate.UsedPasswordResetToken {
		return usedpasswordresettoken.And(usedpasswordresettoken.Email(address),
			usedpasswordresettoken.UsedAtGTE(from), usedpasswordresettoken.UsedAtLTE(until))
	}
	var all []predicate.UsedPasswordResetToken
	since := u.CreatedAt
	err := s.eachChange(ctx, changesOf(u.ID), func(row *ent.AuditLog) error {
		emails, _ := row.Changes[user.FieldEmail].([]any)
		if len(emails) != 2 {
			return nil
		}
		if old, ok := emails[0].(string); ok {
			all = append(all, had(old, since, row.At))
		}
		since = row.At
		return nil
	})
	until := s.moment(ctx)
	if u.DeletedAt != nil { // Since then, the address may be somebody else's.
		until = *u.DeletedAt
	}
	return usedpasswordresettoken.Or(append(all, had(u.Email, since, until))...), err
}

func changesOf(userID int) predicate.AuditLog {
	return auditlog.And(auditlog.Entity(user.Label), auditlog.EntityID(userID))
}

// forget redacts the personal values in the audit trail of an account.
func (s *Store) forget(ctx context.Context, userID int) error {
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
		return s.eachChange(ctx, e.changes(), func(row *ent.AuditLog) error { return e.item(row) })
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
	which, err := e.resetsOf(ctx, e.u)
	if err != nil {
		return err
	}
	rows, err := e.UsedPasswordResetToken.Query().Where(which).Order(usedpasswordresettoken.ByID()).All(ctx)
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

// changes matches the trail of the account and of its files, those included that are not there any more.
func (e *export) changes() predicate.AuditLog {
	owner, id := "json_extract(changes, '$.user_id[%d]') = ", any(e.u.ID)
	if e.Dialect() == dialect.Postgres {
		owner, id = "changes #>> '{user_id,%d}' = ", strconv.Itoa(e.u.ID)
	}
	return auditlog.Or(changesOf(e.u.ID), auditlog.And(auditlog.Entity(file.Label), func(s *sql.Selector) {
		s.Where(sql.P(func(b *sql.Builder) {
			b.WriteString("(entity_id IN (SELECT id FROM files WHERE user_id = ").Arg(e.u.ID).WriteByte(')')
			for i := range 2 { // before the change, and after
				b.WriteString(" OR " + fmt.Sprintf(owner, i)).Arg(id)
			}
			b.WriteByte(')')
		}))
	}))
}
