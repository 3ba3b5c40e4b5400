// Package narrow puts a predicate of a rule on a query or a mutation of whatever entity, in a way
// that no predicate of the caller widens.
package narrow

import (
	"fmt"

	"entgo.io/ent/dialect/sql"
)

// Rows narrows a query or a mutation to the rows of the predicate. A builder that cannot be narrowed is an error.
func Rows(builder any, predicate func(*sql.Selector) *sql.Predicate) error {
	b, ok := builder.(interface {
		WhereP(ps ...func(*sql.Selector))
	})
	if !ok {
		return fmt.Errorf("%T cannot be narrowed to the rows that the viewer may see", builder)
	}
	b.WhereP(func(s *sql.Selector) { Selector(s, predicate(s)) })
	return nil
}

// Selector narrows s to the rows of p. Selector.Where would not do: after the caller's s.Or() it widens.
func Selector(s *sql.Selector, p *sql.Predicate) {
	if prior := s.P(); prior != nil {
		p = sql.And(prior, p)
	}
	s.SetP(p)
}
