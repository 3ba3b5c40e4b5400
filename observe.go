package models

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
)

// WithTracerProvider makes a span of kind client for each statement, named for its operation and table, such as
// "SELECT users", and a span "transaction" around each InTx, which is the parent of its statements and has an
// event "retry" for each attempt that was made again. Names follow OpenTelemetry's semantic conventions 1.43.0:
//
//	db.system.name, db.namespace, server.address, server.port   which database; of a path the file alone
//	db.operation.name, db.collection.name, db.query.summary     one of the known words, and a table of this module or nothing
//	db.response.returned_rows, reviewpoint.affected_rows        how many rows were read, or changed
//	error.type, db.response.status_code                         what failed: "unique", "busy", "canceled", "deadline_exceeded", ...
//	reviewpoint.attempts                                        of a transaction
//
// A span ends when the rows have been read, and one of a statement that waited for a connection in vain has
// begun with the wait. There is no text of a statement in it, no argument, no error message and no value of
// a row. Defaults to no spans.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) error {
		if p == nil {
			return errors.New("WithTracerProvider: the provider is nil")
		}
		o.database.Telemetry.Tracers = p
		return nil
	}
}

// WithMeterProvider measures, with the attributes of WithTracerProvider less the rows and the summary:
//
//	db.client.operation.duration              seconds of each statement, its rows read
//	db.client.response.returned_rows          rows that it answered
//	reviewpoint.affected_rows                 rows that it changed
//	db.client.connection.count                connections by db.client.connection.state, idle or used
//	db.client.connection.max                  how many there may be
//	db.client.connection.pending_requests     who waits for one
//
// The last three are read whenever metrics are collected, until Close, for each pool by
// db.client.connection.pool.name: "reviewpoint", or on SQLite "reviewpoint writer" and "reviewpoint readers".
// Defaults to no metrics.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options) error {
		if p == nil {
			return errors.New("WithMeterProvider: the provider is nil")
		}
		o.database.Telemetry.Meters = p
		return nil
	}
}

// WithLogger says where the store logs: slow statements, if WithSlowQuery asks for them, and what the client of
// Debug writes. Defaults to nothing, and to slog's default logger for Debug.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("WithLogger: the logger is nil")
		}
		o.database.Telemetry.Logger = l
		return nil
	}
}

// WithSlowQuery logs each statement that takes as long as threshold, reading its rows included, to the logger
// of WithLogger, which must be there: at level Warn as "slow statement", with the context of the
// statement, its operation, table, duration, outcome, rows where they are known, and, if it reads or writes
// rows, its text with a ? for each string and number that stands in it. Arguments are not logged. The text
// ends with ... at the first comment or backslash, after the first of several statements, and after 2048
// bytes. Defaults to logging none.
func WithSlowQuery(threshold time.Duration) Option {
	return func(o *options) error {
		if threshold <= 0 {
			return errors.New("WithSlowQuery: the threshold must be longer than nothing")
		}
		o.database.Telemetry.Slow = threshold
		return nil
	}
}

// telemetry is what the options say, complete.
func (o *options) telemetry() (database.Telemetry, error) {
	t := o.database.Telemetry
	if t.Slow > 0 && t.Logger == nil {
		return t, errors.New("WithSlowQuery: say with WithLogger where to log")
	}
	for _, table := range migrate.Tables {
		t.Tables = append(t.Tables, table.Name)
	}
	t.Tables = append(t.Tables, "atlas_schema_revisions")
	return t, nil
}

// logStatement is where Debug writes: the statement, less its arguments.
func logStatement(logger *slog.Logger) func(line ...any) {
	return func(line ...any) {
		text, _, _ := strings.Cut(fmt.Sprint(line...), " args=")
		if logger == nil {
			slog.Info(text) //nolint:sloglint // Debug has no logger of its own; ent writes to the default one too.
			return
		}
		logger.Info(text) //nolint:sloglint // ent gives no context, and the whole line.
	}
}
