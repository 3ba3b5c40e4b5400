// Package audit writes the trail: for each change of a row, one row that says who made it, when, and
// what it was, in the transaction of the change.
package audit

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/schema"

	"github.com/reviewpoint/models/internal/clock"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/viewer"
)

// ErrNotAudited is the answer to a change that the trail could not record.
var ErrNotAudited = errors.New("the change cannot be audited, so it was not made")

// The actions of the trail.
const (
	Create     = "create"
	Update     = "update"
	SoftDelete = "soft_delete"
	Restore    = "restore"
	Anonymize  = "anonymize"
	Delete     = "delete"
)

// Redacted stands for the value of a sensitive column.
const Redacted = "[redacted]"

// Changes says which changes of an entity are audited. As an annotation it tells the templates which
// entities have what Hook needs.
type Changes struct {
	Creates bool     // creations too, not updates and deletes alone; without it there are no upserts
	Except  []string // columns whose change is not worth a row

	// Upserted does for a row that an upsert has changed what the hooks of an update would have done, and puts
	// the columns that it changes into after. Nil for nothing.
	Upserted func(ctx context.Context, db Execer, before, after Row) error `json:"-"`
}

// Execer carries out a statement.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error)
}

var _ schema.Annotation = Changes{}

// Name is that of the annotation.
func (Changes) Name() string { return "Audit" }

// Trail as an annotation tells the templates which entity is the trail itself.
type Trail struct{ AppendOnly bool }

var _ schema.Annotation = Trail{}

// Name is that of the annotation.
func (Trail) Name() string { return "Trail" }

// Row is a row of an audited entity.
type Row struct {
	Entity  string
	ID      int
	Columns map[string]any // by their names in the database, but the sensitive ones
	Secrets map[string]any // the sensitive ones; only whether they changed is written
}

// Value is what the row has in a column, a sensitive one included.
func (r Row) Value(column string) any {
	if value, ok := r.Secrets[column]; ok {
		return value
	}
	return r.Columns[column]
}

// mutation is a mutation of an audited entity, as the template audit makes it.
type mutation interface {
	ent.Mutation
	// Atomic runs fn in the transaction of ctx, or of the client, or in one of its own.
	Atomic(ctx context.Context, fn func(ctx context.Context) error) error
	// Lock returns the ids of the rows that the mutation is about, in order, and locks them. For a
	// creation they are those that it could update instead, as an upsert.
	Lock(ctx context.Context) ([]int, error)
	// Only confines the mutation to the rows with these ids, until it is restored.
	Only(ids []int) (restore func())
	// Rows reads rows by their ids, in order.
	Rows(ctx context.Context, ids []int) ([]Row, error)
	// Row is the row of a node.
	Row(node ent.Value) (Row, error)
	// Upserts reports whether the mutation that was carried out is an upsert.
	Upserts() bool
	// Elsewhere names the edges in the mutation that would change rows of another table.
	Elsewhere() []string
	// DeleteDependents deletes the rows that the database would delete with these.
	DeleteDependents(ctx context.Context, ids []int) error
	Execer
}

// Hook audits the changes. A bulk change is carried out in chunks of rows, inside one transaction.
func (c Changes) Hook() ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (value ent.Value, err error) {
			creates := m.Op().Is(ent.OpCreate)
			if creates && !c.Creates {
				return next.Mutate(ctx, m)
			}
			change, ok := m.(mutation)
			if !ok {
				return nil, fmt.Errorf("%w: %T has not been generated for it", ErrNotAudited, m)
			}
			if edges := change.Elsewhere(); len(edges) > 0 {
				return nil, fmt.Errorf("%w: the edge %s of %s changes rows of another table: change those instead", ErrNotAudited, edges[0], m.Type())
			}
			err = change.Atomic(ctx, func(ctx context.Context) error {
				if creates {
					value, err = c.create(ctx, change, next)
				} else {
					value, err = c.change(ctx, change, next)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			return value, nil
		})
	}
}

// create audits a creation. Only the builder knows whether it is an upsert, and only the database which
// row that updates, so the rows that it could be are looked up before.
func (c Changes) create(ctx context.Context, m mutation, next ent.Mutator) (ent.Value, error) {
	rivals, err := m.Lock(ctx)
	if err != nil {
		return nil, err
	}
	before, err := m.Rows(ctx, rivals)
	if err != nil {
		return nil, err
	}
	node, err := next.Mutate(ctx, m)
	if err != nil {
		return nil, err
	}
	created, err := m.Row(node)
	if err != nil {
		return nil, err
	}
	if !m.Upserts() {
		return node, c.write(ctx, m, nil, []Row{created})
	}
	after, err := m.Rows(ctx, append(rivals, created.ID))
	if err != nil {
		return nil, err
	}
	for _, pair := range pairs(before, after) {
		if pair[1].ID != created.ID {
			continue
		}
		if err := upserted(ctx, m, pair[0], pair[1], created); err != nil {
			return nil, err
		}
		if c.Upserted != nil && pair[0].Columns != nil {
			if err := c.Upserted(ctx, m, pair[0], pair[1]); err != nil {
				return nil, err
			}
		}
	}
	return node, c.write(ctx, m, before, after)
}

// upserted refuses an upsert of a row that nobody saw before, and one that does what the hooks of an update
// keep from it: a deleted row is hidden, and its columns are kept in step.
func upserted(ctx context.Context, m ent.Mutation, before, after, created Row) error {
	switch {
	case before.Columns == nil:
		if same(after, created, "public_id") && same(after, created, "created_at") {
			return nil
		}
		return meanwhileError{fmt.Errorf("%w: the row that the upsert updates was created at the same moment: try again", ErrNotAudited)}
	case deleted(before) && !viewer.DeletedIncluded(ctx):
		return policy.Deny("the row of %s that the upsert would change is deleted", m.Type())
	case !same(before, after, "is_deleted"), !same(before, after, "deleted_at"):
		return policy.Deny("an upsert of %s neither deletes nor restores: delete or update", m.Type())
	}
	return nil
}

// same reports whether two rows have the same value in a column.
func same(a, b Row, column string) bool {
	was, failed := json.Marshal(a.Columns[column])
	is, err := json.Marshal(b.Columns[column])
	return failed == nil && err == nil && bytes.Equal(was, is)
}

// chunk is how many rows are read and changed at a time.
const chunk = 500

func (c Changes) change(ctx context.Context, m mutation, next ent.Mutator) (value ent.Value, err error) {
	ids, err := m.Lock(ctx)
	if err != nil {
		return nil, err
	}
	restore := m.Only(nil) // Rows that come up from now on are none of its business: nobody has seen their values.
	defer restore()        // The transaction may be tried again.
	if len(ids) == 0 {
		return next.Mutate(ctx, m)
	}
	changed := 0
	for ids := range slices.Chunk(ids, chunk) {
		m.Only(ids)
		before, err := m.Rows(ctx, ids)
		if err != nil {
			return nil, err
		}
		if m.Op().Is(ent.OpDelete | ent.OpDeleteOne) {
			if err := m.DeleteDependents(ctx, ids); err != nil {
				return nil, err
			}
		}
		if value, err = next.Mutate(ctx, m); err != nil {
			return nil, err
		}
		after, err := m.Rows(ctx, ids)
		if err != nil {
			return nil, err
		}
		if err := c.write(ctx, m, before, after); err != nil {
			return nil, err
		}
		if n, bulk := value.(int); bulk {
			changed += n
			value = changed
		}
	}
	return value, nil
}

// write adds a row to the trail for each row that differs.
func (c Changes) write(ctx context.Context, m mutation, before, after []Row) error {
	v, err := viewer.Required(ctx)
	if err != nil {
		return err
	}
	now := clock.Now(ctx)
	personal, anonymizes := ctx.Value(personalKey{}).([]string)
	var (
		values strings.Builder
		args   []any
	)
	for _, pair := range pairs(before, after) {
		changes, err := c.compare(pair[0], pair[1], personal)
		if err != nil {
			return err
		}
		if changes == nil {
			continue
		}
		row := pair[0]
		if row.Columns == nil {
			row = pair[1]
		}
		action := action(pair[0], pair[1])
		if anonymizes && action == Update {
			action = Anonymize
		}
		values.WriteString(", (")
		for i, arg := range []any{now, now, now, v.String(), action, row.Entity, row.ID, string(changes)} {
			if i > 0 {
				values.WriteString(", ")
			}
			args = append(args, arg)
			fmt.Fprintf(&values, "$%d", len(args))
		}
		values.WriteString(")")
	}
	if len(args) == 0 {
		return nil
	}
	_, err = m.ExecContext(ctx, "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) VALUES "+values.String()[2:], args...)
	return err
}

type personalKey struct{}

// Anonymizing returns a context in which changes of rows are on record without the values of the personal
// columns, and an update as anonymize.
func Anonymizing(ctx context.Context, personal []string) context.Context {
	return context.WithValue(ctx, personalKey{}, personal)
}

// Forget redacts the values of the personal columns in the changes of a row of the trail, and reports
// whether there were any.
func Forget(changes map[string]any, personal []string) bool {
	forgot := false
	for _, column := range personal {
		values, _ := changes[column].([]any)
		for i, value := range values {
			if value != nil && value != Redacted {
				values[i], forgot = Redacted, true
			}
		}
	}
	return forgot
}

// pairs joins the rows from before and after a change by their ids. A row that is missing is zero.
func pairs(before, after []Row) [][2]Row {
	joined := make([][2]Row, 0, max(len(before), len(after)))
	for _, row := range before {
		pair := [2]Row{row, {}}
		if len(after) > 0 && after[0].ID == row.ID {
			pair[1], after = after[0], after[1:]
		}
		joined = append(joined, pair)
	}
	for _, row := range after {
		joined = append(joined, [2]Row{{}, row})
	}
	return joined
}

func action(before, after Row) string {
	switch {
	case before.Columns == nil:
		return Create
	case after.Columns == nil:
		return Delete
	case deleted(after) && !deleted(before):
		return SoftDelete
	case deleted(before) && !deleted(after):
		return Restore
	}
	return Update
}

func deleted(row Row) bool {
	is, _ := row.Columns["is_deleted"].(bool)
	return is
}

// compare returns {"column": [old, new]} for what differs, or nil.
func (c Changes) compare(before, after Row, personal []string) ([]byte, error) {
	changes := make(map[string][2]any)
	for name := range either(before.Columns, after.Columns) {
		if name == "id" || slices.Contains(c.Except, name) {
			continue
		}
		was, err := json.Marshal(before.Columns[name])
		if err != nil {
			return nil, err
		}
		is, err := json.Marshal(after.Columns[name])
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(was, is) {
			changes[name] = [2]any{json.RawMessage(was), json.RawMessage(is)}
			if slices.Contains(personal, name) {
				changes[name] = [2]any{redact(before.Columns[name]), redact(after.Columns[name])}
			}
		}
	}
	for name := range either(before.Secrets, after.Secrets) {
		if before.Secrets[name] != after.Secrets[name] {
			changes[name] = [2]any{redact(before.Secrets[name]), redact(after.Secrets[name])}
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return json.Marshal(changes)
}

// Creations renders the changes of rows that are created, all with the same columns, at less cost than the
// hook, and to the same text.
type Creations struct {
	heads  []string // empty for a column whose change is not worth a row
	secret []bool
}

// Creations is about rows with these columns, in the order of their names; the secrets are among them.
func (c Changes) Creations(columns, secrets []string) *Creations {
	out := &Creations{}
	for _, name := range columns {
		head := ""
		if !slices.Contains(c.Except, name) {
			head = fmt.Sprintf("%q:[null,", name)
		}
		out.heads = append(out.heads, head)
		out.secret = append(out.secret, slices.Contains(secrets, name))
	}
	return out
}

// Append adds the changes of a row to text. Its values are JSON, in the order of the columns; null for NULL.
func (c *Creations) Append(text []byte, values [][]byte) []byte {
	text = append(text, '{')
	first := true
	for i, value := range values {
		if string(value) == "null" || c.heads[i] == "" {
			continue
		}
		if !first {
			text = append(text, ',')
		}
		first = false
		text = append(text, c.heads[i]...)
		if c.secret[i] {
			text = append(text, '"')
			text = append(text, Redacted...)
			text = append(text, '"', ']')
			continue
		}
		text = append(append(text, value...), ']')
	}
	return append(text, '}')
}

// either is the columns of the row that is there, which are the same of both.
func either(before, after map[string]any) map[string]any {
	if before == nil {
		return after
	}
	return before
}

func redact(value any) any {
	if value == nil {
		return nil
	}
	return Redacted
}

// Atomic runs fn in the transaction of ctx, or in one of the driver's. A driver that cannot carry a
// transaction in the context, such as ent's own, is refused.
func Atomic(ctx context.Context, driver any, fn func(ctx context.Context) error) error {
	switch d := driver.(type) {
	case interface {
		Atomic(ctx context.Context, fn func(ctx context.Context) error) error
	}:
		return d.Atomic(ctx, fn)
	case *dialect.DebugDriver:
		return Atomic(ctx, d.Driver, fn)
	case *dialect.DebugTx:
		return Atomic(ctx, d.Tx, fn)
	}
	return fmt.Errorf("%w: %T cannot put it into one transaction with its row in audit_logs: open the client with models.Open", ErrNotAudited, driver)
}

// ErrUpsert refuses an upsert whose update the hooks do not see.
var ErrUpsert = fmt.Errorf("%w: this upsert does not say which row it would change: look the row up, then update or create it", ErrNotAudited)

// Refuse returns a driver that answers err, for a builder that cannot return one.
func Refuse(driver dialect.Driver, err error) dialect.Driver { return refused{driver, err} }

type refused struct {
	dialect.Driver
	err error
}

func (r refused) Exec(context.Context, string, any, any) error  { return r.err }
func (r refused) Query(context.Context, string, any, any) error { return r.err }
func (r refused) Tx(context.Context) (dialect.Tx, error)        { return nil, r.err }

// meanwhileError is ErrNotAudited for an upsert of a row that came up after it had been looked for.
type meanwhileError struct{ error }

// Retry makes the transaction be tried again.
func (meanwhileError) Retry() bool { return true }

func (e meanwhileError) Unwrap() error { return e.error }
