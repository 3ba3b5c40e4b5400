// Package narrow puts the condition of a rule on a query or a mutation of whatever entity, in a way
// that no predicate of the caller widens.
package narrow

import (
	"fmt"

	"entgo.io/ent/dialect/sql"
)

// Condition writes what a rule asks of a row of the table.
type Condition func(b *sql.Builder, table string)

// Rows narrows a query or a mutation to the rows of the condition. A builder that cannot be narrowed is
// an error.
func Rows(builder any, c Condition) error {
	switch b := builder.(type) {
	case interface{ Narrow(c Condition) }: // a query, by the template rules
		b.Narrow(c)
	case interface {
		WhereP(ps ...func(*sql.Selector))
	}: // a mutation
		b.WhereP(Predicate(c))
	default:
		return fmt.Errorf("%T cannot be narrowed to the rows that the viewer may see", builder)
	}
	return nil
}

// Predicate is the condition as ent takes it.
func Predicate(c Condition) func(*sql.Selector) {
	return func(s *sql.Selector) { Selector(s, c) }
}

// Selector narrows s. Its method Where would not do: after an s.Or() of the caller it widens.
func Selector(s *sql.Selector, c Condition) {
	prior, table := s.P(), s.TableName()
	s.SetP(sql.P(func(b *sql.Builder) {
		c(b, table)
		if prior != nil {
			b.WriteString(" AND (").Join(prior).WriteByte(')')
		}
	}))
}
