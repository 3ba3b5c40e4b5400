package models

import (
	"cmp"
	"context"
	"fmt"
	"runtime"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/address"
	"github.com/reviewpoint/models/internal/password"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/privilege"
	"github.com/reviewpoint/models/internal/validation"
)

// PasswordHashing is what the hash of a password costs, by Argon2id (RFC 9106). A zero field has its default.
type PasswordHashing struct {
	Memory  uint32 // KiB for one hash. Defaults to 19456 (19 MiB), which is the least (OWASP, Password Storage Cheat Sheet)
	Time    uint32 // passes over the memory. Defaults to 2, which is the least
	Threads uint8  // Defaults to 1
	// MaxMemory is KiB for all hashes that are computed at once; other logins wait for their turn, or until
	// their context ends. Garbage takes about as much again (GOGC=100). Defaults to Memory times the
	// processors, more than which makes no login faster.
	MaxMemory uint32

	cheap bool // for tests
}

// WithPasswordHashing changes what hashes cost. Older hashes go on to count, and are replaced at the next
// good login. Defaults to 19 MiB, 2 passes and 1 thread.
func WithPasswordHashing(hashing PasswordHashing) Option {
	return func(o *options) error {
		o.hashing = hashing
		_, err := hashing.hasher()
		return err
	}
}

// WithMaxPasswordLength raises the most characters that a password may have, to 4096 at most. Defaults to 128.
func WithMaxPasswordLength(n int) Option {
	return func(o *options) error {
		if n < password.MaxLength || n > password.MostMaxLength {
			return fmt.Errorf("WithMaxPasswordLength: %d is not between %d and %d", n, password.MaxLength, password.MostMaxLength)
		}
		o.maxPassword = n
		return nil
	}
}

func (p PasswordHashing) hasher() (*password.Hasher, error) {
	params := password.Default
	if p.cheap {
		params = password.Params{Memory: 64, Time: 1, Threads: 1}
	}
	if p.Memory != 0 {
		params.Memory = p.Memory
	}
	if p.Time != 0 {
		params.Time = p.Time
	}
	if p.Threads != 0 {
		params.Threads = p.Threads
	}
	if !p.cheap && !params.AtLeast(password.Default) {
		return nil, fmt.Errorf("WithPasswordHashing: %d KiB and a time of %d are less than OWASP's least, %d KiB and %d",
			params.Memory, params.Time, password.Default.Memory, password.Default.Time)
	}
	memory := int64(p.MaxMemory)
	if memory == 0 {
		memory = int64(params.Memory) * int64(runtime.GOMAXPROCS(0))
	}
	return password.New(params, memory)
}

// newHash hashes a password that somebody chose for the account with the address.
func (s *Store) newHash(ctx context.Context, chosen, address string) (string, error) {
	if err := s.acceptable(chosen, address); err != nil {
		return "", err
	}
	return s.passwords.Hash(ctx, chosen)
}

func (s *Store) acceptable(chosen, address string) error {
	if reason := password.Refuse(chosen, address, s.maxPassword); reason != "" {
		return validation.New(ent.TypeUser, "password", reason)
	}
	return nil
}

// ChangePassword gives the account another password, if old is the one that it has, and refuses the tokens
// issued before: the person signs in again. What a password must be: see Register.
//
// The person and the system may; others get ErrForbidden. It returns ErrInvalidCredentials for a wrong old
// password, *ValidationError for one that is not accepted, and ErrNotFound for an account that is not
// there. It may run inside InTx; hashing takes some tens of milliseconds, during which the transaction
// that it runs in stays open.
func (s *Store) ChangePassword(ctx context.Context, userID int, old, new string) error {
	err := s.allow(ctx, "change the password of another account", func(v Viewer) bool { return v.UserID == userID })
	if err != nil {
		return err
	}
	if password.TooLong(old, s.maxPassword) {
		return ErrInvalidCredentials
	}
	for range 5 {
		u, err := s.User.Get(ctx, userID)
		if err != nil {
			return err
		}
		if matches, _, err := s.passwords.Verify(ctx, u.HashedPassword, old); err != nil || !matches {
			return cmp.Or(err, ErrInvalidCredentials)
		}
		hash, err := s.newHash(ctx, new, u.Email)
		if err != nil {
			return err
		}
		n, err := s.User.Update().Where(user.ID(u.ID), user.HashedPassword(u.HashedPassword)).SetHashedPassword(hash).
			Save(privilege.Raise(ctx, ent.TypeUser))
		if err != nil || n > 0 {
			return err
		}
		// It has another hash since it was verified, perhaps of the same password: a login may replace it.
	}
	return fmt.Errorf("change the password: %w", ErrSerialization)
}

// SetPassword gives the account another password without asking for the old one, and refuses the tokens
// issued before. What a password must be: see Register.
//
// Administrators and the system may; others get ErrForbidden. It returns *ValidationError for a password
// that is not accepted, and ErrNotFound for an account that is not there. It may run inside InTx, as
// ChangePassword does.
func (s *Store) SetPassword(ctx context.Context, userID int, new string) error {
	if err := s.allow(ctx, "set passwords", func(v Viewer) bool { return v.Admin }); err != nil {
		return err
	}
	u, err := s.User.Get(ctx, userID)
	if err != nil {
		return err
	}
	hash, err := s.newHash(ctx, new, u.Email)
	if err != nil {
		return err
	}
	return s.storePassword(ctx, u.ID, hash)
}

// ResetPassword gives the account with the address another password in exchange for a nonce that counts
// once, and refuses the tokens issued before, in one transaction: either all of it happens or nothing.
// Whoever calls it has made sure that the nonce was sent to that address and is not too old, as by the
// signature of the link; only that it is used once is seen to here.
//
// Everybody may. It returns *ValidationError for a password that is not accepted, ErrNotFound for an
// address without an account, ErrAccountDisabled, and ErrTokenUsed: of any number of callers at once, one
// succeeds. A call that fails leaves the nonce as it was. It may run inside InTx, as ChangePassword does; a
// call that loses against another one leaves that transaction only the rollback.
func (s *Store) ResetPassword(ctx context.Context, email, nonce, newPassword string) error {
	if _, err := policy.Asking(ctx); err != nil {
		return err
	}
	email, err := normalAddress(email)
	if err := cmp.Or(err, validNonce(nonce), s.acceptable(newPassword, email)); err != nil { // before it costs anything
		return err
	}
	ctx = privilege.Raise(ctx, ent.TypeUser, ent.TypeUsedPasswordResetToken)
	u, err := s.UserByEmail(ctx, email)
	switch {
	case err != nil:
		return err
	case !u.IsActive:
		return ErrAccountDisabled
	}
	if used, err := s.resetUsed(ctx, email, nonce); err != nil || used {
		return cmp.Or(err, ErrTokenUsed)
	}
	hash, err := s.newHash(ctx, newPassword, email)
	if err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.consume(ctx, email, nonce); err != nil {
			return err
		}
		u, err := s.locked(user.ID(u.ID), user.Email(email), user.IsDeleted(false)).Only(ctx)
		switch {
		case err != nil:
			return err
		case !u.IsActive: // since it was read
			return ErrAccountDisabled
		}
		return s.storePassword(ctx, u.ID, hash)
	})
}

// allow returns nil for the system, and for a person who has an account in use and is whom the rule names.
func (s *Store) allow(ctx context.Context, what string, rule func(Viewer) bool) error {
	v, err := policy.Asking(ctx)
	switch {
	case err != nil:
		return err
	case v.System:
		return nil
	case v.UserID == 0 && !v.Admin, !rule(v):
		return policy.Deny("%s may not %s", v, what)
	}
	return policy.InUse(ctx, s, v)
}

func normalAddress(email string) (string, error) {
	normal, err := address.Normal(email)
	if err != nil {
		return "", validation.Because(ent.TypeUser, user.FieldEmail, err.Error(), err)
	}
	return normal, nil
}

func (s *Store) storePassword(ctx context.Context, userID int, hash string) error {
	return s.User.UpdateOneID(userID).SetHashedPassword(hash).Exec(privilege.Raise(ctx, ent.TypeUser))
}
