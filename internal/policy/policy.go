// Package policy decides who may do what with the rows of an entity, by rules that its schema declares.
package policy

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"slices"

	"entgo.io/ent"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/privacy"

	"github.com/reviewpoint/models/internal/narrow"
	"github.com/reviewpoint/models/internal/privilege"
	"github.com/reviewpoint/models/internal/viewer"
)

// ErrForbidden is what the viewer may not do.
var ErrForbidden = errors.New("forbidden")

// Operations is a set of what can be done with rows.
type Operations uint

// The operations.
const (
	Read Operations = 1 << iota
	Create
	Update
	Delete
	All = Read | Create | Update | Delete
)

// String is the verb.
func (o Operations) String() string {
	switch o {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	default:
		return "read"
	}
}

// Rules says who may do what with the rows of an entity. Whatever it does not allow is refused. The
// system may do everything that the rows allow.
//
// A query, an edge from a row and an eager load are judged by the rules of the rows that they lead to.
// The predicate of an edge (HasUserWith) is not: it tells of a neighbour's columns whoever sees the row
// itself. All edges of a person's rows lead to rows of that person; before one leads elsewhere, the
// templates predicate/edge/has and haswith need to ask here.
type Rules struct {
	Admin      Operations // of an administrator, on every row
	User       Operations // of a signed-in person, on the own rows
	Owner      string     // the column that says whose row it is, by the id of the user
	Editable   []string   // the columns that a person's Update may change; Update of administrators may change all
	SystemOnly []string   // the columns that the system alone writes
	AppendOnly bool       // rows are neither updated nor deleted, by the system as little as by others
}

// EvalQuery refuses the query, or narrows it to the rows that the viewer may see.
func (r Rules) EvalQuery(ctx context.Context, q ent.Query) error {
	owner, err := r.Readable(ctx, queried(q))
	if err != nil || owner == 0 {
		return err
	}
	return r.own(q, owner, "")
}

// Readable returns whose rows of the entity the viewer may read: those of the user with the id, who must
// not be deleted, or everybody's if that is 0.
func (r Rules) Readable(ctx context.Context, entity string) (owner int, err error) {
	v, err := Asking(ctx)
	switch {
	case err != nil:
		return 0, err
	case v.System, v.Admin && r.Admin&Read != 0, privilege.Raised(ctx, entity):
		return 0, nil
	case v.UserID > 0 && !v.Admin && r.User&Read != 0:
		return v.UserID, nil
	}
	return 0, Deny("%s may not read %s", v, entity)
}

// EvalMutation refuses the mutation, or narrows it to the rows that the viewer may change.
func (r Rules) EvalMutation(ctx context.Context, m ent.Mutation) error {
	v, err := Asking(ctx)
	if err != nil {
		return err
	}
	op := operation(m.Op())
	switch {
	case compound(m.Op()):
		return Deny("no builder of %s carries out %s", m.Type(), m.Op())
	case r.AppendOnly && op != Create:
		return Deny("rows of %s are never changed", m.Type())
	case v.System:
		return nil
	case privilege.Raised(ctx, m.Type()):
		return account(ctx, m, v)
	case v.Admin && r.Admin&op != 0:
		if err := r.columns(m, v, nil); err != nil {
			return err
		}
		return account(ctx, m, v)
	case v.UserID > 0 && !v.Admin && r.User&op != 0:
		return r.personal(ctx, m, v, op)
	}
	return Deny("%s may not %s %s", v, op, m.Type())
}

// personal narrows a mutation by a person to the own rows.
func (r Rules) personal(ctx context.Context, m ent.Mutation, v viewer.Viewer, op Operations) error {
	editable := r.Editable
	if op != Update {
		editable = nil
	}
	if err := r.columns(m, v, editable); err != nil {
		return err
	}
	if op == Create {
		if owner, _ := m.Field(r.Owner); owner != v.UserID {
			return DenyOwner(v, m.Type(), r.Owner)
		}
	} else if err := r.own(m, v.UserID, " AND is_active"); err != nil { // still, when the rows are locked
		return err
	}
	return account(ctx, m, v)
}

// columns refuses a mutation that writes other columns than these; nil stands for all.
func (r Rules) columns(m ent.Mutation, v viewer.Viewer, editable []string) error {
	for _, column := range slices.Concat(m.Fields(), m.AddedFields(), m.ClearedFields()) {
		if slices.Contains(r.SystemOnly, column) || editable != nil && !slices.Contains(editable, column) {
			return Deny("%s may not set %s of %s", v, column, m.Type())
		}
	}
	if edges := slices.Concat(m.AddedEdges(), m.RemovedEdges(), m.ClearedEdges()); editable != nil && len(edges) > 0 {
		return Deny("%s may not set %s of %s", v, edges[0], m.Type())
	}
	return nil
}

// own narrows a query or a mutation to the rows of a person whose account is not deleted, and in use as
// the condition says.
func (r Rules) own(builder any, id int, inUse string) error {
	owner := r.Owner
	return narrow.Rows(builder, func(b *sql.Builder, table string) {
		b.WriteString(table + "." + owner + " = ").Arg(id)
		if table == accounts {
			b.WriteString(" AND NOT " + table + ".is_deleted" + inUse)
			return
		}
		b.WriteString(" AND EXISTS (SELECT 1 FROM users WHERE id = ").Arg(id).WriteString(" AND NOT is_deleted" + inUse + ")")
	})
}

// accounts is the table of those who can be viewers.
const accounts = "users"

type bulkKey struct{}

// Bulk returns the context of one bulk creation, for all rows of which the viewer is looked up once.
func Bulk(ctx context.Context) context.Context {
	return context.WithValue(ctx, bulkKey{}, new(viewer.Viewer))
}

// account refuses a person whose account is not in use.
func account(ctx context.Context, m ent.Mutation, v viewer.Viewer) error {
	known, bulk := ctx.Value(bulkKey{}).(*viewer.Viewer)
	if bulk && *known == v { // somebody who was looked up
		return nil
	}
	db, ok := m.(querier)
	if !ok {
		return fmt.Errorf("%T cannot look up the account of the viewer", m)
	}
	if err := InUse(ctx, db, v); err != nil {
		return err
	}
	if bulk {
		*known = v
	}
	return nil
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*stdsql.Rows, error)
}

// InUse refuses a person whose account is not there or not in use, or not that of an administrator any
// more. Whoever has no account passes.
func InUse(ctx context.Context, db querier, v viewer.Viewer) error {
	if v.UserID == 0 || v.System {
		return nil
	}
	rows, err := db.QueryContext(ctx, "SELECT is_admin FROM users WHERE id = $1 AND is_active AND NOT is_deleted", v.UserID)
	if err != nil {
		return fmt.Errorf("look up the account of the viewer: %w", err)
	}
	defer rows.Close()
	var usable, admin bool
	if usable = rows.Next(); usable {
		err = rows.Scan(&admin)
	}
	switch err := errors.Join(err, rows.Err()); {
	case err != nil:
		return fmt.Errorf("look up the account of the viewer: %w", err)
	case !usable:
		return Deny("%s has no account that is in use", v)
	case v.Admin && !admin:
		return Deny("%s is no administrator", v)
	}
	return nil
}

// Operation refuses a builder whose mutation was made another operation, which is not what the rules saw.
func Operation(m ent.Mutation, ops ent.Op) error {
	if !m.Op().Is(ops) || compound(m.Op()) {
		return Deny("a builder of %s cannot carry out %s", m.Type(), m.Op())
	}
	return nil
}

// Statement refuses everybody but the system what goes round the rules, such as an own piece of SQL in an update.
func Statement(ctx context.Context) error {
	v, err := Asking(ctx)
	if err != nil || v.System {
		return err
	}
	return Deny("%s may not modify statements", v)
}

// Asking returns the viewer, if it can be one: ErrNoViewer or ErrForbidden else.
func Asking(ctx context.Context) (viewer.Viewer, error) {
	v, err := viewer.Required(ctx)
	switch {
	case err != nil:
		return v, err
	case v.UserID < 0:
		return v, Deny("the viewer's user id is %d: take it from the user's row", v.UserID)
	case v.Admin && !v.System && v.UserID == 0 && v.Label == "":
		return v, Deny("the viewer is an administrator whom nothing names: give a UserID or a Label")
	}
	return v, nil
}

// queried is the entity that a query asks for.
func queried(q ent.Query) string {
	if named, ok := q.(interface{ Entity() string }); ok { // by the template rules
		return named.Entity()
	}
	return "these rows"
}

func operation(op ent.Op) Operations {
	switch {
	case op.Is(ent.OpCreate):
		return Create
	case op.Is(ent.OpUpdate | ent.OpUpdateOne):
		return Update
	}
	return Delete
}

// compound reports whether an operation is several, each of which Is would take it for.
func compound(op ent.Op) bool { return op&(op-1) != 0 }

// denial is ErrForbidden with its reason, and what ent calls a denial.
type denial struct{ reason string }

// Deny returns ErrForbidden with its reason, which holds no value of a row.
func Deny(format string, args ...any) error { return &denial{fmt.Sprintf(format, args...)} }

// DenyOwner refuses a row that the viewer makes for somebody else.
func DenyOwner(v viewer.Viewer, entity, owner string) error {
	return Deny("%s may create only their own %s: set %s to their id", v, entity, owner)
}

func (d *denial) Error() string { return ErrForbidden.Error() + ": " + d.reason }

// Is makes it ErrForbidden and privacy.Deny.
func (d *denial) Is(target error) bool { return target == ErrForbidden || target == privacy.Deny }
