package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/clock"
)

// SoftDeleteUser deletes an account and keeps its row and its files: nobody finds the row without
// IncludeDeleted, the address is free for somebody else, and tokens issued before are refused
// (tokens_valid_after). It is what the client's Delete does.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrNotFound for an account that
// is not there or deleted already: of two at once, one. It may run inside InTx.
func (s *Store) SoftDeleteUser(ctx context.Context, userID int) error {
	return s.User.DeleteOneID(userID).Exec(ctx)
}

// RestoreUser undoes SoftDeleteUser, but for the tokens.
//
// Administrators and the system may; others get ErrForbidden. It returns ErrEmailTaken when somebody else
// has the address by now, after which a transaction that it ran in can only be rolled back, and
// ErrNotFound for an account that is not there or not deleted. It may run inside InTx.
func (s *Store) RestoreUser(ctx context.Context, userID int) error {
	err := s.User.UpdateOneID(userID).Where(user.IsDeleted(true)).SetIsDeleted(false).Exec(IncludeDeleted(ctx))
	if errors.Is(err, ErrUnique) {
		return fmt.Errorf("restore user %d: %w", userID, ErrEmailTaken)
	}
	return err
}

// PurgeOptions says what PurgeExpired removes. A zero field removes nothing.
type PurgeOptions struct {
	// DeletedUsers is for how long an account must have been deleted. Defaults to leaving all.
	DeletedUsers time.Duration
}

// PurgeReport says what PurgeExpired removed.
type PurgeReport struct {
	Users int `json:"users"`
	Files int `json:"files"` // of those users
}

// purgeBatch is how many accounts go in one transaction.
const purgeBatch = 100

// PurgeExpired removes for good what has been kept for long enough: accounts that were deleted longer
// ago than the options say, with their files. Each removal is in the audit trail.
//
// It is for the system alone; others get ErrForbidden. It works in batches of 100 accounts with a
// transaction each, or in that of InTx, and bears others beside it: what another transaction is busy
// with it leaves for the next time. When it fails, the report says what was removed before.
func (s *Store) PurgeExpired(ctx context.Context, opts PurgeOptions) (*PurgeReport, error) {
	report := &PurgeReport{}
	v, ok := ViewerFrom(ctx)
	switch {
	case !ok:
		return report, ErrNoViewer
	case !v.System:
		return report, fmt.Errorf("%w: a purge is for the system alone: use AsSystem", ErrForbidden)
	case opts.DeletedUsers < 0:
		return report, fmt.Errorf("PurgeExpired: accounts cannot have been deleted for %s", opts.DeletedUsers)
	case opts.DeletedUsers == 0:
		return report, nil
	}
	cutoff := clock.Now(s.withClock(ctx)).Add(-opts.DeletedUsers)
	for last, more := 0, true; more; {
		batch, ids, err := s.purgeUsers(HardDelete(IncludeDeleted(ctx)), last, cutoff)
		if err != nil {
			return report, err
		}
		report.Users += batch.Users
		report.Files += batch.Files
		if more = len(ids) == purgeBatch; more {
			last = ids[len(ids)-1]
		}
	}
	return report, nil
}

// purgeUsers removes a batch of the accounts that were deleted before the cutoff, of those with an id
// after last. A row by other hands may be deleted at no time; then its last change counts.
func (s *Store) purgeUsers(ctx context.Context, last int, cutoff time.Time) (batch PurgeReport, ids []int, err error) {
	old := user.And(user.IDGT(last), user.IsDeleted(true), user.Or(
		user.DeletedAtLTE(cutoff),
		user.And(user.DeletedAtIsNil(), user.UpdatedAtLTE(cutoff)),
	))
	err = s.InTx(ctx, func(ctx context.Context) error {
		batch = PurgeReport{}
		query := s.User.Query().Where(old).Order(user.ByID()).Limit(purgeBatch)
		if s.Dialect() == dialect.Postgres {
			query.ForUpdate(sql.WithLockAction(sql.SkipLocked))
		}
		var err error
		if ids, err = query.IDs(ctx); err != nil || len(ids) == 0 {
			return err
		}
		if batch.Files, err = s.File.Delete().Where(file.UserIDIn(ids...)).Exec(ctx); err != nil {
			return err
		}
		batch.Users, err = s.User.Delete().Where(user.IDIn(ids...), old).Exec(ctx)
		return err
	})
	return batch, ids, err
}
