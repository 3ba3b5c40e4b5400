//go:build cgo

package database

import (
	"database/sql/driver"
	"errors"

	"github.com/mattn/go-sqlite3"
)

func sqliteDriver() driver.Driver { return &sqlite3.SQLiteDriver{} }

// sqliteAnswer returns SQLite's extended result code and text when err is its answer.
func sqliteAnswer(err error) (code int, text string, ok bool) {
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		return int(e.ExtendedCode), e.Error(), true
	}
	return 0, "", false
}
