// Package validation is the error of a value that is not accepted.
package validation

// Error says which value is not accepted, and why. It does not hold the value.
type Error struct {
	Entity string // as the generated client names it: User
	Field  string // the column, or what the caller calls it: email, password
	Reason string // what a value must be, for people
	cause  error
}

// Error is one line.
func (e *Error) Error() string { return e.Entity + "." + e.Field + ": " + e.Reason }

// Unwrap returns what the generated client answered, if it did.
func (e *Error) Unwrap() error { return e.cause }

// New returns an Error.
func New(entity, field, reason string) error {
	return &Error{Entity: entity, Field: field, Reason: reason}
}

// Because is New for what cause was the answer to.
func Because(entity, field, reason string, cause error) error {
	return &Error{Entity: entity, Field: field, Reason: reason, cause: cause}
}
