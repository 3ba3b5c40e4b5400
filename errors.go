package models

import (
	"errors"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/migration"
	"github.com/reviewpoint/models/internal/policy"
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
	// one through a driver that is not a Store's, or an upsert of files. Nothing was changed; where the
	// caller's own transaction is concerned, that can only be rolled back.
	ErrNotAudited = audit.ErrNotAudited
	// ErrEmailTaken is returned by RestoreUser when somebody else has the address by now.
	ErrEmailTaken = errors.New("the address belongs to another account by now")
)

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
