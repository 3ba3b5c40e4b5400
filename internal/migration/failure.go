package migration

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"ariga.io/atlas/sql/migrate"

	"github.com/reviewpoint/models/internal/clock"
)

// clearFailures deletes what is on record of files that failed, which were undone and are not there any more.
func (m *Migrator) clearFailures(ctx context.Context, to string, account []*migrate.Revision) error {
	if to != "" {
		return nil // They may come later.
	}
	rrw, err := openRevisions(ctx, m.db)
	if err != nil {
		return err
	}
	for _, revision := range slices.DeleteFunc(slices.Clone(account), func(r *migrate.Revision) bool { return !nothingDone(r) }) {
		if err := rrw.DeleteRevision(ctx, revision.Version); err != nil {
			return err
		}
	}
	return nil
}

// refresh brings the account of earlier attempts up to date: a file that failed may have been mended
// or renamed since.
func (m *Migrator) refresh(ctx context.Context, rrw *revisions, file migrate.File, account []*migrate.Revision) error {
	for _, revision := range account {
		switch {
		case nothingDone(revision) && (revision.Version != file.Version() || !m.alone(file)):
			if err := rrw.DeleteRevision(ctx, revision.Version); err != nil {
				return err
			}
		case revision.Version == file.Version():
			all, err := statements(ctx, m.db, file)
			if err != nil {
				return err
			}
			// Not a word of the account changes before this: with fewer statements it could say that all are done.
			if changed := changedStatement(revision, all); changed > 0 {
				return explainFailure(file, migrate.HistoryChangedError{File: file.Name(), Stmt: changed}, true)
			}
			if revision.Total = len(all); revision.Applied > revision.Total {
				return fmt.Errorf("%w: %d statements of %s were applied, and it has only %d now: take the old file back from version control", ErrEdited, revision.Applied, file.Name(), revision.Total)
			}
			if err := rrw.WriteRevision(ctx, revision); err != nil {
				return err
			}
		}
	}
	return nil
}

// changedStatement is the number of the first statement that was done and is another one now, or 0. The
// hash of each covers those before it, as Atlas's executor writes them.
func changedStatement(revision *migrate.Revision, all []*migrate.Stmt) int {
	sum := sha256.New()
	for i, statement := range all[:min(revision.Applied, len(revision.PartialHashes), len(all))] {
		sum.Write([]byte(statement.Text))
		if revision.PartialHashes[i] != "h1:"+base64.StdEncoding.EncodeToString(sum.Sum(nil)) {
			return i + 1
		}
	}
	return 0
}

// failure is a statement of a file that failed.
type failure struct {
	file      migrate.File
	statement *migrate.Stmt
	alone     bool // outside of a transaction
	err       error
}

func (f *failure) Error() string {
	if f.alone {
		return fmt.Sprintf("migration %s failed at line %d: %v: what it did before is kept, and the next `migrate apply` goes on from there", f.file.Name(), lineOf(f.file, f.statement), f.err)
	}
	return fmt.Sprintf("migration %s failed at line %d and was undone: %v", f.file.Name(), lineOf(f.file, f.statement), f.err)
}

func (f *failure) Unwrap() error { return f.err }

// explainFailure names the statement that failed, without what followed from it.
func explainFailure(file migrate.File, err error, alone bool) error {
	if failed, ok := errors.AsType[*migrate.StmtExecError](err); ok {
		return &failure{file, failed.Stmt, alone, failed.Err}
	}
	if changed, ok := errors.AsType[migrate.HistoryChangedError](err); ok {
		return fmt.Errorf("%w: %s was applied up to a statement that has changed since, number %d: take it back from version control", ErrEdited, file.Name(), changed.Stmt)
	}
	return fmt.Errorf("migration %s failed: %w", file.Name(), err)
}

// recordFailure writes into the account that a file has failed, as far as that can be had: the
// transaction that failed has taken its own row along.
func (m *Migrator) recordFailure(ctx context.Context, file migrate.File, err error) {
	failed, ok := errors.AsType[*failure](err)
	if !ok || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = m.db.InSchemaTx(ctx, func(ctx context.Context) error {
		if err := lock(ctx, m.db, "xact_"); err != nil {
			return err
		}
		_, pending, err := m.first(ctx, "")
		if err != nil || pending == nil || pending.Version() != file.Version() {
			return err
		}
		rrw, err := openRevisions(ctx, m.db)
		if err != nil {
			return err
		}
		if err := rrw.create(ctx); err != nil {
			return err
		}
		all, err := statements(ctx, m.db, file)
		if err != nil {
			return err
		}
		// What was done before, outside of a transaction, still is.
		revision, err := rrw.ReadRevision(ctx, file.Version())
		if errors.Is(err, migrate.ErrRevisionNotExist) {
			revision, err = &migrate.Revision{Version: file.Version(), Description: file.Desc(), Type: migrate.RevisionTypeExecute}, nil
		}
		if err != nil {
			return err
		}
		revision.Total, revision.ExecutedAt, revision.OperatorVersion = max(len(all), revision.Applied+1), clock.Now(ctx), operator
		revision.Error, revision.ErrorStmt = failed.err.Error(), failed.statement.Text
		return rrw.WriteRevision(ctx, revision)
	})
}
