package database

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"sync/atomic"

	"entgo.io/ent/dialect"
	"github.com/lib/pq"
)

const (
	// How many prepared statements a connection keeps unless the URL says otherwise.
	statementCacheSize = 128
	maxStatementCache  = 10000
	// A longer text is a list of values, which costs the server's memory and seldom comes again.
	maxStatementLength = 8192
)

// errInProgress is lib/pq's own, which does not look at prepared statements.
var errInProgress = errors.New("pq: there is already a query being processed on this connection")

var errLost = fmt.Errorf("the connection was lost while the statement ran: read back whether it was carried out before repeating it: %w", io.ErrUnexpectedEOF)

// statements are the prepared statements of one connection of PostgreSQL. The server has parsed them,
// and from the sixth use may have planned them, once; a use is one round trip.
type statements struct {
	size  int
	epoch *atomic.Int64 // of the pool: what was prepared in an earlier one may not fit the schema any more

	byText map[string]*list.Element // of *prepared
	recent *list.List               // the last used first

	// A text is prepared when it comes the second time, for that costs a round trip: a text that comes
	// once pays nothing, and drives nothing out.
	seen map[uint64]struct{}
	hash maphash.Seed

	off  bool // until the end of the transaction
	open bool // the rows of a query are being read
}

// prepared is a statement that the server keeps.
type prepared struct {
	driver.Stmt
	text  string
	epoch int64
}

// newStatements returns nil when there is nothing to keep.
func newStatements(size int, epoch *atomic.Int64) *statements {
	if size == 0 {
		return nil
	}
	return &statements{
		size: size, epoch: epoch,
		byText: make(map[string]*list.Element), recent: list.New(),
		seen: make(map[uint64]struct{}), hash: maphash.MakeSeed(),
	}
}

// exec runs a statement, prepared where that pays.
func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	p, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if p != nil {
		result, err := p.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
		if !c.outdated(p, err) {
			return result, err
		}
		if c.inTx {
			return nil, errOutdated(err)
		}
	}
	result, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	c.distrust(p, err)
	return result, err
}

// query is exec for a query.
func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	p, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if p != nil {
		inner, err := p.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
		if !c.outdated(p, err) {
			c.statements.open = err == nil
			return inner, c.once(query, err)
		}
		if c.inTx {
			return nil, errOutdated(err)
		}
	}
	inner, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	c.distrust(p, err)
	if c.statements != nil && err == nil {
		c.statements.open = len(args) > 0 || len(inner.Columns()) > 0
	}
	return inner, c.once(query, err)
}

// once keeps database/sql from asking again on another connection when the one was lost with the answer
// to a query that writes.
func (c *conn) once(query string, err error) error {
	if c.dialect == dialect.Postgres && !c.inTx && errors.Is(err, driver.ErrBadConn) && !isSelect(query) {
		return errLost
	}
	return err
}

// statement returns the prepared statement for query, or nil when it goes the simple way.
func (c *conn) statement(ctx context.Context, query string, args []driver.NamedValue) (*prepared, error) {
	s := c.statements
	switch {
	case s == nil || s.off:
		return nil, nil //nolint:nilnil // The simple way is no error.
	case len(args) == 0:
		s.off = c.inTx && !leavesSchema(query)
		return nil, nil //nolint:nilnil // as above
	}
	epoch := s.epoch.Load()
	if element, ok := s.byText[query]; ok {
		p := element.Value.(*prepared)
		if p.epoch == epoch {
			s.recent.MoveToFront(element)
			if p.NumInput() != len(args) { // The server says what is wrong.
				return nil, nil //nolint:nilnil // as above
			}
			return p, nil
		}
		if err := c.forget(ctx, element); err != nil {
			return nil, err
		}
	} else if !s.again(query) {
		return nil, nil //nolint:nilnil // as above
	}
	if len(s.byText) >= s.size {
		if err := c.forget(ctx, s.recent.Back()); err != nil {
			return nil, err
		}
	}
	inner, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p := &prepared{Stmt: inner, text: query, epoch: epoch}
	s.byText[query] = s.recent.PushFront(p)
	if p.NumInput() != len(args) {
		return nil, nil //nolint:nilnil // as above
	}
	return p, nil
}

// again reports whether a text that may be prepared has come before.
func (s *statements) again(query string) bool {
	if len(query) > maxStatementLength || !changesRows(query) {
		return false
	}
	sum := maphash.String(s.hash, query)
	if _, ok := s.seen[sum]; ok {
		delete(s.seen, sum)
		return true
	}
	if len(s.seen) >= s.size {
		clear(s.seen)
	}
	s.seen[sum] = struct{}{}
	return false
}

// forget ends a statement, on the server too.
func (c *conn) forget(ctx context.Context, element *list.Element) error {
	p := element.Value.(*prepared)
	c.statements.recent.Remove(element)
	delete(c.statements.byText, p.text)
	return c.within(ctx, p.Close)
}

// outdated reports whether the server did not run p because it does not fit the schema any more, or is
// not there. Both are found when the arguments are bound, before anything ran, so that the statement
// may run again; outside a transaction an error would undo what ran anyway. What else has been prepared,
// on all connections, is then not trusted either.
func (c *conn) outdated(p *prepared, err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	switch {
	case !ok:
		return false
	case e.Code == "0A000" && e.Routine == "RevalidateCachedQuery", e.Code == "26000":
	case e.Code == "42883", e.Code == "42804": // Its arguments have types that fitted once.
	case e.Code.Class() == "22" && !c.inTx: // It may not be the value that is wrong, but the type that it is bound to.
		p.epoch = -1
		return true
	default:
		return false
	}
	c.statements.epoch.CompareAndSwap(p.epoch, p.epoch+1)
	return true
}

// distrust begins anew everywhere when p refused a value that fits.
func (c *conn) distrust(p *prepared, err error) {
	if p != nil && p.epoch < 0 && err == nil {
		c.statements.epoch.Add(1)
	}
}

// errOutdated ends a transaction, which goes better a second time.
func errOutdated(err error) error {
	e, _ := errors.AsType[*pq.Error](err)
	return &Error{Code: string(e.Code), kind: ErrSerialization, text: "the schema has changed under a prepared statement", outdated: true}
}

// changesRows reports whether query reads or writes rows, and nothing else. lib/pq begins a COPY when
// that is prepared.
func changesRows(query string) bool {
	switch firstWord(query) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH":
		return true
	}
	return false
}

// leavesSchema reports whether the prepared statements still fit after query.
func leavesSchema(query string) bool {
	switch firstWord(query) {
	case "SAVEPOINT", "RELEASE", "ROLLBACK", "LOCK", "SHOW":
		return true
	}
	return changesRows(query)
}

func firstWord(query string) string {
	end := strings.IndexFunc(query, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') })
	if end < 0 {
		end = len(query)
	}
	return strings.ToUpper(query[:min(end, len("SAVEPOINT"))])
}

type plainKey struct{}

// plainly returns a context in which a transaction begins that uses no prepared statements.
func plainly(ctx context.Context) context.Context { return context.WithValue(ctx, plainKey{}, true) }

func (c *conn) beginStatements(ctx context.Context) {
	if c.statements != nil {
		c.statements.off = ctx.Value(plainKey{}) != nil
	}
}

func (c *conn) endStatements() {
	if c.statements != nil {
		c.statements.off = false
	}
}

// endRows notes that the rows of a query are read.
func (c *conn) endRows() {
	if c.statements != nil {
		c.statements.open = false
	}
}
