//go:build !cgo

package database

import "database/sql/driver"

// A build without a C compiler has PostgreSQL alone.

func sqliteDriver() driver.Driver { return nil }

func sqliteAnswer(error) (code int, text string, ok bool) { return 0, "", false }
