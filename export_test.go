package models

import (
	"database/sql/driver"
)

// CheapHashing is how OpenTest hashes passwords.
var CheapHashing Option = cheapHashing

// WithStatements tells of each statement before it is sent, BEGIN and COMMIT included.
func WithStatements(tell func(query string, args []driver.NamedValue)) Option {
	return func(o *options) error {
		o.database.Before = tell
		return nil
	}
}
