package models

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/policy"
)

// PurgeOptions says what PurgeExpired removes. Blacklisted tokens go when they are of no use any more; of
// the rest, a zero field leaves all.
type PurgeOptions struct {
	// Tokens is for how long a blacklisted token must have been expired. Defaults to 5 minutes, which is
	// the least: other machines may have other clocks.
	Tokens time.Duration
	// Resets is for how long a password reset must have been used. A link that is still valid then would
	// count again, so it must be longer than links are valid. Defaults to leaving all.
	Resets time.Duration
	// AuditLogs is for how long a change must have been on record. Defaults to leaving all.
	AuditLogs time.Duration
	// DeletedUsers is for how long an account must have been deleted. Defaults to leaving all.
	DeletedUsers time.Duration

	// DryRun counts what would be removed, and removes nothing.
	DryRun bool
	// Pause is the time between two batches that is left to others. Defaults to 10 milliseconds, or twice
	// the time of the last batch if that is more; below zero there is none.
	Pause time.Duration
	// Progress, if it is not nil, is called after each batch with what has been removed so far.
	Progress func(PurgeReport)
}

// PurgeReport says what PurgeExpired removed.
type PurgeReport struct {
	Tokens    int `json:"tokens"`
	Resets    int `json:"resets"`
	AuditLogs int `json:"audit_logs"`
	Users     int `json:"users"`
	Files     int `json:"files"` // of those users
}

// How much goes in one transaction. Accounts are fewer if they have more files than purgeRows together.
const (
	purgeRows  = 1000
	purgeUsers = 100
)

// PurgeExpired removes for good what has been kept for long enough: tokens that have expired, and, as the
// options say, used password resets, audit rows, and deleted accounts with their files. The removal of
// an account is itself in the audit trail, from which the personal values of the account go, as they go
// from its password resets: see AnonymizeUser.
//
// It is for the system alone; others get ErrForbidden. It works in batches of 1000 rows, or of accounts with
// about as many files, at most 100, with a transaction each and a pause between them, or in the
// transaction of InTx without any. It bears others of its kind and live traffic beside it: what another
// transaction is busy with it leaves for the next time. SQLite has one writer: several purges there only
// wait for each other, for up to ErrBusy; and its log grows for as long as somebody reads. When it fails, or ctx ends, the report says what
// was removed before.
func (s *Store) PurgeExpired(ctx context.Context, opts PurgeOptions) (*PurgeReport, error) {
	p := &purge{Store: s, opts: opts, now: s.moment(ctx)}
	v, err := policy.Asking(ctx)
	switch {
	case err != nil:
		return &p.report, err
	case !v.System:
		return &p.report, policy.Deny("a purge is for the system alone: use AsSystem")
	case min(opts.Tokens, opts.Resets, opts.AuditLogs, opts.DeletedUsers) < 0:
		return &p.report, fmt.Errorf("PurgeExpired: nothing can be kept for less than no time: %s", min(opts.Tokens, opts.Resets, opts.AuditLogs, opts.DeletedUsers))
	}
	p.opts.Tokens = max(opts.Tokens, clockSkew)
	return &p.report, p.run(ctx)
}

// purge is one run of PurgeExpired.
type purge struct {
	*Store

	opts   PurgeOptions
	now    time.Time
	report PurgeReport
}

func (p *purge) run(ctx context.Context) error {
	for _, kind := range []struct {
		table, column string
		keep          time.Duration
		removed       *int
	}{
		{blacklistedtoken.Table, blacklistedtoken.FieldExpiresAt, p.opts.Tokens, &p.report.Tokens},
		{usedpasswordresettoken.Table, usedpasswordresettoken.FieldUsedAt, p.opts.Resets, &p.report.Resets},
		{auditlog.Table, auditlog.FieldAt, p.opts.AuditLogs, &p.report.AuditLogs},
	} {
		if kind.keep == 0 {
			continue
		}
		if err := p.rows(ctx, kind.table, kind.column, p.now.Add(-kind.keep), kind.removed); err != nil {
			return err
		}
	}
	if p.opts.DeletedUsers == 0 {
		return nil
	}
	return p.users(HardDelete(IncludeDeleted(ctx)), p.now.Add(-p.opts.DeletedUsers))
}

// rows removes from a table what is older than the cutoff.
func (p *purge) rows(ctx context.Context, table, column string, cutoff time.Time, removed *int) error {
	if p.opts.DryRun {
		return p.ask(ctx, "SELECT COUNT(*) FROM "+table+" WHERE "+column+" < $1", []any{cutoff}, removed)
	}
	for from := (time.Time{}); ; {
		var (
			n       int
			reached time.Time
		)
		began := p.moment(ctx)
		err := p.InTx(ctx, func(ctx context.Context) (err error) { // so that a batch is removed when it is reported
			n, reached, err = p.batch(ctx, table, column, from, cutoff)
			return err
		})
		if err != nil {
			return err
		}
		*removed += n
		if err := p.batchDone(ctx, began); err != nil || n < purgeRows {
			return err
		}
		from = reached
	}
}

// batch removes the oldest rows, and returns the time that it has come to. PostgreSQL keeps what is removed
// in the index for a while, so there the next batch begins at that time.
func (p *purge) batch(ctx context.Context, table, column string, from, cutoff time.Time) (n int, reached time.Time, err error) {
	if p.Dialect() == dialect.Postgres {
		var last stdsql.NullTime
		// An array is made once, whatever the plan.
		err := p.ask(ctx, fmt.Sprintf(`WITH removed AS (DELETE FROM %[1]s WHERE id = ANY (ARRAY(
	SELECT id FROM %[1]s WHERE %[2]s >= $1 AND %[2]s < $2 ORDER BY %[2]s LIMIT %[3]d FOR UPDATE SKIP LOCKED)) RETURNING %[2]s)
SELECT count(*), max(%[2]s) FROM removed`, table, column, purgeRows), []any{from, cutoff}, &n, &last)
		return n, last.Time, err
	}
	result, err := p.ExecContext(ctx, fmt.Sprintf("DELETE FROM %[1]s WHERE id IN (SELECT id FROM %[1]s WHERE %[2]s < $1 ORDER BY %[2]s LIMIT %[3]d)",
		table, column, purgeRows), cutoff)
	if err != nil {
		return 0, reached, err
	}
	removed, err := result.RowsAffected()
	return int(removed), reached, err
}

// batchDone tells of the progress, and leaves the database to others for a while.
func (p *purge) batchDone(ctx context.Context, began time.Time) error {
	if p.opts.Progress != nil {
		p.opts.Progress(p.report)
	}
	if p.db.InTransaction(ctx) {
		return nil
	}
	pause := p.opts.Pause
	if pause == 0 {
		pause = max(10*time.Millisecond, 2*p.moment(ctx).Sub(began))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// users removes the accounts that were deleted before the cutoff.
func (p *purge) users(ctx context.Context, cutoff time.Time) error {
	old := user.And(user.IsDeleted(true), user.DeletedAtLTE(cutoff))
	if p.opts.DryRun {
		var err error
		if p.report.Users, err = p.User.Query().Where(old).Count(ctx); err != nil {
			return err
		}
		p.report.Files, err = p.File.Query().Where(file.HasUserWith(old)).Count(ctx)
		return err
	}
	for last := 0; ; {
		began := p.moment(ctx)
		batch, reached, err := p.userBatch(ctx, user.And(user.IDGT(last), old))
		if err != nil || reached == 0 {
			return err
		}
		p.report.Users += batch.Users
		p.report.Files += batch.Files
		if err := p.batchDone(ctx, began); err != nil {
			return err
		}
		last = reached
	}
}

// userBatch removes some accounts, and returns the id that it came to, or 0 if there were none.
func (p *purge) userBatch(ctx context.Context, old predicate.User) (batch PurgeReport, reached int, err error) {
	err = p.InTx(ctx, func(ctx context.Context) error {
		batch, reached = PurgeReport{}, 0
		query := p.User.Query().Where(old).Order(user.ByID()).Limit(purgeUsers)
		if p.Dialect() == dialect.Postgres {
			query.ForUpdate(sql.WithLockAction(sql.SkipLocked))
		}
		users, err := query.All(ctx)
		for _, u := range users {
			if batch.Files > purgeRows {
				break
			}
			files, err := p.userForGood(ctx, u)
			if err != nil {
				return err
			}
			batch.Users, batch.Files, reached = batch.Users+1, batch.Files+files, u.ID
		}
		return err
	})
	return batch, reached, err
}

// userForGood removes an account with its files, and what is personal in its trail and its password resets.
func (p *purge) userForGood(ctx context.Context, u *ent.User) (files int, err error) {
	if err := p.forgetResets(ctx, u); err != nil {
		return 0, err
	}
	if files, err = p.File.Delete().Where(file.UserID(u.ID)).Exec(ctx); err != nil {
		return 0, err
	}
	if err := p.User.DeleteOne(u).Exec(audit.Anonymizing(ctx, personal)); err != nil {
		return 0, err
	}
	return files, p.forgetChanges(ctx, u.ID)
}
