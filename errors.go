package models

import (
	"errors"
	"strings"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/validation"
	"github.com/reviewpoint/models/internal/viewer"
)

// What the rules answer.
var (
	// ErrNoViewer is returned by the client and the methods of Store for a context in which nobody
	// asks. It says what to call.
	ErrNoViewer = viewer.ErrNoViewer
	// ErrForbidden is returned by the client and the methods of Store for what the viewer may not do.
	// Rows that the viewer may not see are not there: ErrNotFound.
	ErrForbidden = policy.ErrForbidden
	// ErrNotFound is returned for a row that is not there, not visible, or deleted. It is every
	// *ent.NotFoundError.
	ErrNotFound = ent.ErrNotFound
	// ErrNotAudited is returned by the client for a change that the audit trail could not record, such as
	// one through a driver that is not a Store's, or an upsert of files. Nothing was changed. Where that was
	// found out by a statement, the caller's own transaction can only be rolled back, and answers ErrTxFailed.
	ErrNotAudited = audit.ErrNotAudited
	// ErrEmailTaken is returned by Register, UpsertUser and RestoreUser when another account has the address.
	ErrEmailTaken = errors.New("the address belongs to another account")
)

// What the methods for accounts and tokens answer.
var (
	// ErrInvalidCredentials is returned by Authenticate for an unknown address and for a wrong password
	// alike, and by ChangePassword for a wrong old one.
	ErrInvalidCredentials = errors.New("unknown address or wrong password")
	// ErrAccountDisabled is returned by Authenticate, after a right password, by ResetPassword, and by
	// CheckToken for an account that is not active.
	ErrAccountDisabled = errors.New("the account is disabled")
	// ErrDeleted is returned by CheckToken for an account that has been deleted.
	ErrDeleted = errors.New("the account has been deleted")
	// ErrTokenUsed is returned by ConsumeResetToken and ResetPassword for a nonce that has counted.
	ErrTokenUsed = errors.New("the password reset has been used")
	// ErrTokenRevoked is returned by CheckToken for whatever token must not be accepted any more.
	ErrTokenRevoked = errors.New("the token has been revoked")
	// ErrTokenExpired is returned by CheckToken for a token whose time is over.
	ErrTokenExpired = errors.New("the token has expired")
)

// ValidationError says which value is not accepted, and why: Entity, Field, Reason. It holds nothing of
// the value. The methods of Store and the store's client return it as *ValidationError, for errors.As;
// from the client it is ent's own ValidationError, too.
type ValidationError = validation.Error

// invalid makes ent's answer to a value that a mutation does not accept a *ValidationError.
func invalid(m ent.Mutation, err error) error {
	refused, ok := errors.AsType[*ent.ValidationError](err)
	if !ok {
		return err
	}
	cause := errors.Unwrap(refused)
	for inner := cause; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner
	}
	return validation.Because(m.Type(), refused.Name, reason(cause), err)
}

// reason is what a validator says, in the words of this package.
func reason(err error) string {
	switch text := strings.TrimPrefix(err.Error(), "ent: "); text {
	case "value is less than the required length":
		return "must not be empty"
	case "value is greater than the required rune length":
		return "is too long"
	case "value out of range": // of a size, the only number that has bounds
		return "must be 0 or more"
	default:
		return text
	}
}

// What a database answers to a statement, told from its SQLSTATE or from SQLite's extended result
// code. Every method of the client and of Store may return them; test with errors.Is. No text of
// theirs holds a value of a row. ent.IsConstraintError is true of the first three, in whatever
// language the server speaks.
var (
	ErrUnique     = database.ErrUnique     // a value is there already
	ErrForeignKey = database.ErrForeignKey // the row that is referred to is not there
	ErrCheck      = database.ErrCheck      // a value is outside its bounds
	ErrNotNull    = database.ErrNotNull    // a value is missing
	ErrBusy       = database.ErrBusy       // a lock was not to be had in time; trying again may help
	ErrReadOnly   = database.ErrReadOnly   // the store was opened WithReadOnly, or the server is a replica

	// ErrSerialization says that the transaction lost against another one as often as InTx tries.
	ErrSerialization = database.ErrSerialization
)

// What a transaction answers.
var (
	// ErrTxDone is returned for every use of a context whose InTx has returned.
	ErrTxDone = database.ErrTxDone
	// ErrTxFailed is returned for every use of a transaction after one of its statements failed, and
	// by its commit.
	ErrTxFailed = database.ErrTxFailed
	// ErrCommitUnknown is returned by InTx when the connection was lost during the commit, so that
	// nobody knows whether the change was kept. Read it back before repeating it.
	ErrCommitUnknown = database.ErrCommitUnknown
)

// What Migrate and Migrations answer. The errors name the file.
var (
	ErrMigrationEdited  = migration.ErrEdited  // a file is not what was planned or applied
	ErrMigrationMissing = migration.ErrMissing // the database is newer than this program
	ErrForeignDatabase  = migration.ErrForeign // somebody else's tables are there
)
