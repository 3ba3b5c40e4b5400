package models

import (
	"context"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/blacklistedtoken"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/predicate"
	"github.com/reviewpoint/models/ent/usedpasswordresettoken"
	"github.com/reviewpoint/models/ent/user"
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
	// Pause is the time between two batches that is left to others. Defaults to 10 milliseconds; below
	// zero there is none.
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

// How much goes in one transaction.
const (
	purgeRows  = 1000
	purgeUsers = 100
)

// PurgeExpired removes for good what has been kept for long enough: tokens that have expired, and, as the
// options say, used password resets, audit rows, and deleted accounts with their files. The removal of
// an account is itself in the audit trail.
//
// It is for the system alone; others get ErrForbidden. It works in batches of 1000 rows, or 100 accounts,
// with a transaction each and a pause between them, or in the transaction of InTx without any. It
// bears others of its kind and live traffic beside it: what another transaction is busy with it leaves for
// the next time. When it fails, or ctx ends, the report says what was removed before.
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
	if opts.Pause == 0 {
		p.opts.Pause = 10 * time.Millisecond
	}
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
	batch := fmt.Sprintf("SELECT id FROM %s WHERE %s < $1 ORDER BY %[2]s LIMIT %d", table, column, purgeRows)
	remove := "DELETE FROM " + table + " WHERE id IN (" + batch + ")"
	if p.Dialect() == dialect.Postgres { // An array is made once, whatever the plan.
		remove = "DELETE FROM " + table + " WHERE id = ANY (ARRAY(" + batch + " FOR UPDATE SKIP LOCKED))"
	}
	for {
		result, err := p.ExecContext(ctx, remove, cutoff)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		*removed += int(n)
		if err := p.batchDone(ctx); err != nil || n < purgeRows {
			return err
		}
	}
}

// batchDone tells of the progress, and leaves the database to others for a while.
func (p *purge) batchDone(ctx context.Context) error {
	if p.opts.Progress != nil {
		p.opts.Progress(p.report)
	}
	if p.db.InTransaction(ctx) {
		return nil
	}
	timer := time.NewTimer(p.opts.Pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// users removes the accounts that were deleted before the cutoff. A row by other hands may be deleted at no
// time; then its last change counts.
func (p *purge) users(ctx context.Context, cutoff time.Time) error {
	old := user.And(user.IsDeleted(true), user.Or(
		user.DeletedAtLTE(cutoff),
		user.And(user.DeletedAtIsNil(), user.UpdatedAtLTE(cutoff)),
	))
	if p.opts.DryRun {
		var err error
		if p.report.Users, err = p.User.Query().Where(old).Count(ctx); err != nil {
			return err
		}
		p.report.Files, err = p.File.Query().Where(file.HasUserWith(old)).Count(ctx)
		return err
	}
	for last := 0; ; {
		batch, ids, err := p.userBatch(ctx, user.And(user.IDGT(last), old))
		if err != nil {
			return err
		}
		p.report.Users += batch.Users
		p.report.Files += batch.Files
		if err := p.batchDone(ctx); err != nil || len(ids) < purgeUsers {
			return err
		}
		last = ids[len(ids)-1]
	}
}

func (p *purge) userBatch(ctx context.Context, old predicate.User) (batch PurgeReport, ids []int, err error) {
	err = p.InTx(ctx, func(ctx context.Context) error {
		batch = PurgeReport{}
		query := p.User.Query().Where(old).Order(user.ByID()).Limit(purgeUsers)
		if p.Dialect() == dialect.Postgres {
			query.ForUpdate(sql.WithLockAction(sql.SkipLocked))
		}
		var err error
		if ids, err = query.IDs(ctx); err != nil || len(ids) == 0 {
			return err
		}
		if batch.Files, err = p.File.Delete().Where(file.UserIDIn(ids...)).Exec(ctx); err != nil {
			return err
		}
		batch.Users, err = p.User.Delete().Where(user.IDIn(ids...), old).Exec(ctx)
		return err
	})
	return batch, ids, err
}
