package models

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/validation"
)

// NewFile is the record of an uploaded paper that CreateFiles makes.
type NewFile struct {
	Filename    string // 1 to 255 characters
	ContentType string // 1 to 128 characters
	Size        int64  // bytes
}

// fileBatch is how many files go in one statement. With texts as long as they may be, each character
// escaped, that is at most 35 MB, where both databases take 1 GB.
const fileBatch = 10_000

// CreateFiles records files of a user, any number, all of them or none, and returns them in the order
// given, which is that of their ids; they have one created_at. Up to 10,000 are one statement in one round
// trip; more are one transaction of such statements. What is returned takes about 250 bytes a file beside
// its texts, and a statement at most 35 MB.
//
// A person may for the own account, administrators and the system for any, also for one that is disabled or
// deleted; others get ErrForbidden, as does whoever has no account that is in use. It returns
// *ValidationError for the first value that cannot be, with the number of its file, from 0, and
// ErrForeignKey for a user who is not there. No files are none. It may run inside InTx, which can only be
// rolled back after ErrForeignKey. Hooks that a service has added to the client do not run.
func (s *Store) CreateFiles(ctx context.Context, userID int, files []NewFile) ([]*ent.File, error) {
	v, err := policy.Asking(ctx)
	switch {
	case err != nil:
		return nil, err
	case v.System, v.Admin:
	case v.UserID == 0:
		return nil, policy.Deny("%s may not create %s", v, ent.TypeFile)
	case v.UserID != userID:
		return nil, policy.DenyOwner(v, ent.TypeFile, file.FieldUserID)
	}
	if err := validFiles(userID, files); err != nil {
		return nil, cmp.Or(policy.InUse(ctx, s, v), err)
	}
	if len(files) == 0 {
		return []*ent.File{}, policy.InUse(ctx, s, v)
	}
	nodes := s.newFiles(s.moment(ctx), userID, files)
	if len(nodes) <= fileBatch {
		err = s.insertFiles(ctx, v, nodes)
	} else {
		err = s.db.Atomic(ctx, func(ctx context.Context) error {
			for batch := range slices.Chunk(nodes, fileBatch) {
				if err := s.insertFiles(ctx, v, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

func validFiles(userID int, files []NewFile) error {
	if userID <= 0 {
		return validation.New(ent.TypeFile, file.FieldUserID, "must be the id of an account")
	}
	for i, f := range files {
		var err error
		switch {
		case refuse(file.FieldFilename, file.FilenameValidator(f.Filename), &err):
		case refuse(file.FieldContentType, file.ContentTypeValidator(f.ContentType), &err):
		case refuse(file.FieldSize, file.SizeValidator(f.Size), &err):
		default:
			continue
		}
		return fmt.Errorf("file %d: %w", i, err)
	}
	return nil
}

// refuse makes the answer of a validator a *ValidationError, as invalid does for the client.
func refuse(field string, cause error, err *error) bool {
	if cause == nil {
		return false
	}
	*err = validation.Because(ent.TypeFile, field, reason(cause), cause)
	return true
}

func (s *Store) newFiles(now time.Time, userID int, files []NewFile) []*ent.File {
	made, nodes := s.File.Nodes(len(files)), make([]*ent.File, len(files))
	for i, f := range files {
		node := &made[i]
		node.CreatedAt, node.UpdatedAt, node.PublicID = now, now, file.DefaultPublicID()
		node.Filename, node.ContentType, node.Size, node.UserID = f.Filename, f.ContentType, f.Size, userID
		nodes[i] = node
	}
	return nodes
}

// Whose account must be in use (0 for nobody's), and be an administrator's, stands in the statement: a
// look-up before would be a round trip of its own. An array or a JSON text makes it one text for any number.
// SQLite numbers arguments by their first appearance.
const (
	insertFile = "INSERT INTO files (created_at, updated_at, user_id, public_id, filename, content_type, size) SELECT "
	inUse      = "(CAST(%[1]s AS bigint) = 0 OR EXISTS (SELECT 1 FROM users WHERE id = %[1]s AND is_active AND NOT is_deleted AND (is_admin OR NOT %[2]s)))"
	returning  = " RETURNING id, public_id"
)

var (
	insertFileSQLite   = insertFile + "$1, $1, $2, $3, $4, $5, $6 WHERE " + fmt.Sprintf(inUse, "$7", "$8")
	insertFilePostgres = insertFile + "$1::timestamptz, $1, $2::bigint, $3::uuid, $4::varchar, $5::varchar, $6::bigint WHERE " + fmt.Sprintf(inUse, "$7", "$8") + returning

	insertFilesSQLite   = insertFile + "$1, $1, $2, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($3) WHERE " + fmt.Sprintf(inUse, "$4", "$5") + returning
	insertFilesPostgres = insertFile + "$1::timestamptz, $1, $2::bigint, new.* FROM unnest($3::uuid[], $4::varchar[], $5::varchar[], $6::bigint[]) AS new WHERE " + fmt.Sprintf(inUse, "$7", "$8") + returning
)

// insertFiles inserts the rows, unless the viewer's account is not in use, and gives the nodes their ids.
func (s *Store) insertFiles(ctx context.Context, v Viewer, nodes []*ent.File) error {
	account := v.UserID
	if v.System {
		account = 0
	}
	var (
		n    int
		err  error
		args = append(make([]any, 0, 8), nodes[0].CreatedAt, nodes[0].UserID)
	)
	switch sqlite := s.Dialect() == dialect.SQLite; {
	case len(nodes) == 1:
		args = append(args, nodes[0].PublicID.String(), nodes[0].Filename, nodes[0].ContentType, nodes[0].Size, account, v.Admin)
		if sqlite {
			n, err = s.insertFile(ctx, args, nodes[0])
		} else {
			n, err = s.insertReturning(ctx, insertFilePostgres, args, nodes)
		}
	case sqlite:
		tuples, failed := fileTuples(nodes)
		if failed != nil {
			return failed
		}
		n, err = s.insertReturning(ctx, insertFilesSQLite, append(args, tuples, account, v.Admin), nodes)
	default:
		n, err = s.insertReturning(ctx, insertFilesPostgres, append(append(args, fileArrays(nodes)...), account, v.Admin), nodes)
	}
	switch {
	case errors.Is(err, ErrForeignKey):
		return constraintError{err}
	case err == nil && n == 0:
		return cmp.Or(policy.InUse(ctx, s, v), unusable(v))
	}
	return err
}

// unusable is the answer to somebody whose account changes back and forth.
func unusable(v Viewer) error { return policy.Deny("%s has no account that is in use", v) }

// constraintError is what ent.IsConstraintError says that it is.
type constraintError struct{ error }

func (e constraintError) Unwrap() error { return e.error }

// As gives one of ent's, to which nobody else can give a text.
func (constraintError) As(target any) bool {
	own, ok := target.(**ent.ConstraintError)
	if ok {
		*own = &ent.ConstraintError{}
	}
	return ok
}

// insertFile inserts one row, of which SQLite tells the id at less cost than RETURNING.
func (s *Store) insertFile(ctx context.Context, args []any, node *ent.File) (int, error) {
	result, err := s.db.ExecContext(ctx, insertFileSQLite, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil || n == 0 {
		return 0, err
	}
	id, err := result.LastInsertId()
	node.ID = int(id)
	return 1, err
}

// fileTuples is what the rows differ in, as JSON.
func fileTuples(nodes []*ent.File) (string, error) {
	tuples := make([][4]any, len(nodes))
	for i, node := range nodes {
		tuples[i] = [4]any{node.PublicID, node.Filename, node.ContentType, node.Size}
	}
	out, err := json.Marshal(tuples)
	return string(out), err
}

func fileArrays(nodes []*ent.File) []any {
	n := len(nodes)
	ids, names, types, sizes := make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.Int64Array, n)
	for i, node := range nodes {
		ids[i], names[i], types[i], sizes[i] = node.PublicID.String(), node.Filename, node.ContentType, node.Size
	}
	return []any{ids, names, types, sizes}
}

// insertReturning gives each node the id that the statement answers with its public_id: in which order is
// for the database.
func (s *Store) insertReturning(ctx context.Context, query string, args []any, nodes []*ent.File) (n int, err error) {
	var rows sql.Rows
	if err := s.db.Query(ctx, query, args, &rows); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var (
		byPublicID map[uuid.UUID]*ent.File
		id         int
		publicID   uuid.UUID
	)
	for ; rows.Next(); n++ {
		if err := rows.Scan(&id, &publicID); err != nil {
			return n, err
		}
		if byPublicID == nil && n < len(nodes) && nodes[n].PublicID == publicID {
			nodes[n].ID = id
			continue
		}
		if byPublicID == nil {
			byPublicID = make(map[uuid.UUID]*ent.File, len(nodes))
			for _, node := range nodes {
				byPublicID[node.PublicID] = node
			}
		}
		byPublicID[publicID].ID = id
	}
	return n, rows.Err()
}

// DeleteFiles deletes the files of a user that have one of the names, all that have it, and returns which
// names there were and which not, each once, in the order given. Each file is in the audit trail. It is
// one transaction.
//
// A person may for the own account, administrators and the system for any; to a person the files of others
// are not there. Others get ErrForbidden, as does whoever has no account that is in use. It returns
// *ValidationError for a name that no file can have. It may run inside InTx.
func (s *Store) DeleteFiles(ctx context.Context, userID int, filenames []string) (deleted, missing []string, err error) {
	v, err := policy.Asking(ctx)
	switch {
	case err != nil:
		return nil, nil, err
	case !v.System && !v.Admin && v.UserID == 0:
		return nil, nil, policy.Deny("%s may not delete %s", v, ent.TypeFile)
	}
	if err := policy.InUse(ctx, s, v); err != nil {
		return nil, nil, err
	}
	names, err := validNames(userID, filenames)
	if err != nil || len(names) == 0 {
		return nil, nil, err
	}
	found := make(map[string]bool)
	if v.System || v.Admin || v.UserID == userID {
		err = s.db.Atomic(ctx, func(ctx context.Context) error {
			clear(found)
			for batch := range slices.Chunk(names, fileBatch) {
				if err := s.deleteFiles(ctx, v, userID, batch, found); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, name := range names {
		if found[name] {
			deleted = append(deleted, name)
		} else {
			missing = append(missing, name)
		}
	}
	return deleted, missing, nil
}

// validNames returns each name once.
func validNames(userID int, filenames []string) ([]string, error) {
	if userID <= 0 {
		return nil, validation.New(ent.TypeFile, file.FieldUserID, "must be the id of an account")
	}
	names, seen := make([]string, 0, len(filenames)), make(map[string]bool, len(filenames))
	for i, name := range filenames {
		var err error
		if refuse(file.FieldFilename, file.FilenameValidator(name), &err) {
			return nil, fmt.Errorf("filename %d: %w", i, err)
		}
		if !seen[name] {
			names, seen[name] = append(names, name), true
		}
	}
	return names, nil
}

const (
	namedSQLite   = "SELECT id, filename FROM files WHERE user_id = $1 AND filename IN (SELECT value FROM json_each($2)) ORDER BY id"
	namedPostgres = "SELECT id, filename FROM files WHERE user_id = $1 AND filename = ANY($2::varchar[]) ORDER BY id FOR UPDATE"
)

// deleteFiles deletes by the client, for the audit trail, what it has found and locked.
func (s *Store) deleteFiles(ctx context.Context, v Viewer, userID int, names []string, found map[string]bool) error {
	query, list := namedPostgres, any(pq.StringArray(names))
	if s.Dialect() == dialect.SQLite {
		encoded, err := json.Marshal(names)
		if err != nil {
			return err
		}
		query, list = namedSQLite, string(encoded)
	}
	var (
		ids  []int
		rows sql.Rows
	)
	if err := s.db.Query(ctx, query, []any{userID, list}, &rows); err != nil {
		return err
	}
	for rows.Next() {
		var (
			id   int
			name string
		)
		if err := rows.Scan(&id, &name); err != nil {
			return errors.Join(err, rows.Close())
		}
		ids, found[name] = append(ids, id), true
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for batch := range slices.Chunk(ids, page) {
		n, err := s.File.Delete().Where(file.IDIn(batch...)).Exec(ctx)
		if err != nil {
			return err
		}
		if n != len(batch) {
			return unusable(v)
		}
	}
	return nil
}
