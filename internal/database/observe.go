package database

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry says who is told of statements: of their operation, table, outcome, rows and duration, and never
// of a value. The zero value tells nobody. Names are those of OpenTelemetry's semantic conventions 1.43.0.
type Telemetry struct {
	Tracers trace.TracerProvider
	Meters  metric.MeterProvider
	Logger  *slog.Logger  // of slow statements
	Slow    time.Duration // how long a statement takes that is one
	Tables  []string      // that may be named
}

const (
	scope = "github.com/reviewpoint/models"
	// What the conventions have no name for.
	affectedRows = "reviewpoint.affected_rows"
	attempts     = "reviewpoint.attempts"
	// How many texts are known by their summaries, and how long they may be: longer ones are lists of values.
	maxSummaries     = 512
	maxSummaryLength = 4096
)

// observer tells of statements. One that is nil tells nobody, and costs nothing.
type observer struct {
	tracer   trace.Tracer            // or nil
	duration metric.Float64Histogram // or nil, and so are those of rows
	returned metric.Int64Histogram
	affected metric.Int64Histogram
	logger   *slog.Logger // or nil
	slow     time.Duration

	sqlite bool
	tables map[string]bool
	common []attribute.KeyValue

	mu        sync.RWMutex
	summaries map[string]*summary // by text
}

// summary is what telemetry says of a text.
type summary struct {
	operation, table, name string
	attributes             []attribute.KeyValue
	start                  []trace.SpanStartOption
	ok                     metric.MeasurementOption
}

// newObserver returns nil when nobody is to be told.
func newObserver(t target, to Telemetry) (*observer, error) {
	if to.Tracers == nil && to.Meters == nil && (to.Logger == nil || to.Slow == 0) {
		return nil, nil //nolint:nilnil // A nil observer is one.
	}
	o := &observer{slow: to.Slow, sqlite: t.dialect == dialect.SQLite, common: t.attributes(), tables: make(map[string]bool), summaries: make(map[string]*summary)}
	for _, table := range to.Tables {
		o.tables[table] = true
	}
	if to.Slow > 0 {
		o.logger = to.Logger
	}
	if to.Tracers != nil {
		o.tracer = to.Tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	}
	if to.Meters == nil {
		return o, nil
	}
	meter := to.Meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	var (
		took    dbconv.ClientOperationDuration
		rows    dbconv.ClientResponseReturnedRows
		errs    [3]error
		buckets = metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
	)
	o.duration, errs[0] = meter.Float64Histogram(took.Name(), metric.WithUnit(took.Unit()), metric.WithDescription(took.Description()),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	o.returned, errs[1] = meter.Int64Histogram(rows.Name(), metric.WithUnit(rows.Unit()), metric.WithDescription(rows.Description()), buckets)
	o.affected, errs[2] = meter.Int64Histogram(affectedRows, metric.WithUnit(rows.Unit()), metric.WithDescription("The number of rows that a statement has changed."), buckets)
	return o, errors.Join(errs[:]...)
}

// attributes name the database.
func (t *target) attributes() []attribute.KeyValue {
	if t.dialect == dialect.SQLite {
		return []attribute.KeyValue{semconv.DBSystemNameSQLite, semconv.DBNamespace(filepath.Base(t.name))} // Its folder may be somebody's.
	}
	hosts, database, _ := strings.Cut(t.name, "/")
	if strings.HasPrefix(t.name, "/") { // a socket
		end := strings.LastIndexByte(t.name, '/')
		hosts, database = t.name[:end], t.name[end+1:]
	}
	out := []attribute.KeyValue{semconv.DBSystemNamePostgreSQL, semconv.DBNamespace(database), semconv.ServerAddress(hosts)} // as the URL has them
	if host, port, err := net.SplitHostPort(hosts); err == nil {
		out[2] = semconv.ServerAddress(host)
		if n, err := strconv.Atoi(port); err == nil && n != 5432 {
			out = append(out, semconv.ServerPort(n))
		}
	}
	return out
}

// summary of a text.
func (o *observer) summary(query string) *summary {
	o.mu.RLock()
	known := o.summaries[query]
	o.mu.RUnlock()
	if known != nil {
		return known
	}
	s := &summary{}
	s.operation, s.table = summarize(query, o.tables)
	s.name = s.operation
	s.attributes = slices.Concat(o.common, []attribute.KeyValue{semconv.DBOperationName(s.operation)})
	if s.table != "" {
		s.name += " " + s.table
		s.attributes = append(s.attributes, semconv.DBCollectionName(s.table))
	}
	s.start = []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(s.attributes...), trace.WithAttributes(semconv.DBQuerySummary(s.name)),
	}
	s.ok = metric.WithAttributeSet(attribute.NewSet(slices.Clone(s.attributes)...))
	if len(query) <= maxSummaryLength {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.summaries) >= maxSummaries {
			clear(o.summaries)
		}
		o.summaries[strings.Clone(query)] = s
	}
	return s
}

// observation is of one statement, and used by one goroutine at a time. One that is nil observes nothing.
type observation struct {
	*summary
	observer *observer
	ctx      context.Context //nolint:containedctx // It carries the span.
	span     trace.Span
	query    string
	began    time.Time
	rows     int64 // returned or, when executed, affected; -1 where they are not known
	executed bool
	all      bool // rows have been read
	err      error
}

// forgive keeps a panic of a provider or a handler from the statement.
func forgive() { _ = recover() }

// now is when something began that may be told of.
func (o *observer) now() time.Time {
	if o == nil {
		return time.Time{}
	}
	return time.Now()
}

// begin observes a statement from now on.
func (o *observer) begin(ctx context.Context, query string) *observation {
	if o == nil {
		return nil
	}
	seen := o.observation(ctx, query, time.Now())
	seen.trace(seen.start...)
	return seen
}

func (o *observer) observation(ctx context.Context, query string, began time.Time) *observation {
	return &observation{summary: o.summary(query), observer: o, ctx: ctx, query: query, began: began}
}

func (seen *observation) trace(start ...trace.SpanStartOption) {
	if tracer := seen.observer.tracer; tracer != nil {
		defer forgive()
		seen.ctx, seen.span = tracer.Start(seen.ctx, seen.name, start...) //nolint:spancheck // It ends with the observation.
	}
}

// refused tells of a statement that waited since began for a connection, and got none.
func (o *observer) refused(ctx context.Context, query string, began time.Time, err error) error {
	if o != nil {
		seen := o.observation(ctx, query, began)
		seen.trace(append(slices.Clone(seen.start), trace.WithTimestamp(began))...)
		seen.end(err)
	}
	return err
}

// row counts a row that was read.
func (seen *observation) row() {
	if seen != nil {
		seen.rows++
	}
}

// complete notes that there are no more rows.
func (seen *observation) complete() {
	if seen != nil {
		seen.all = true
	}
}

// closed ends with the rows, which may be closed for a context that has ended.
func (seen *observation) closed() {
	if seen == nil {
		return
	}
	if !seen.all {
		seen.fail(seen.ctx.Err())
	}
	seen.end(nil)
}

// fail notes an error, the first of which is the outcome.
func (seen *observation) fail(err error) {
	if seen != nil && seen.err == nil {
		seen.err = err
	}
}

// changed counts the rows that a statement has changed, and ends.
func (seen *observation) changed(result driver.Result, err error) {
	if seen == nil {
		return
	}
	seen.rows, seen.executed = -1, true
	if err == nil && result != nil && (seen.operation == "INSERT" || seen.operation == "UPDATE" || seen.operation == "DELETE") {
		if n, err := result.RowsAffected(); err == nil {
			seen.rows = n
		}
	}
	seen.end(err)
}

// end tells of the statement, once.
func (seen *observation) end(err error) {
	if seen == nil || seen.observer == nil {
		return
	}
	defer forgive()
	seen.fail(err)
	o, took := seen.observer, time.Since(seen.began)
	seen.observer = nil
	if seen.err != nil {
		seen.rows = -1
	}
	if seen.span != nil {
		defer seen.span.End()
		seen.tellSpan()
	}
	if o.duration != nil {
		seen.measure(o, took)
	}
	if o.logger != nil && took >= o.slow {
		seen.log(o, took)
	}
}

func (seen *observation) tellSpan() {
	if !seen.span.IsRecording() {
		return
	}
	switch {
	case seen.err != nil:
		failSpan(seen.span, seen.err)
	case seen.rows < 0:
	case seen.executed:
		seen.span.SetAttributes(attribute.Int64(affectedRows, seen.rows))
	default:
		seen.span.SetAttributes(semconv.DBResponseReturnedRows(int(seen.rows)))
	}
}

func (seen *observation) measure(o *observer, took time.Duration) {
	attributes := seen.ok
	if seen.err != nil {
		attributes = metric.WithAttributes(slices.Concat(seen.attributes, failure(seen.err))...)
	}
	o.duration.Record(seen.ctx, took.Seconds(), attributes)
	switch {
	case seen.rows < 0:
	case seen.executed:
		o.affected.Record(seen.ctx, seen.rows, attributes)
	default:
		o.returned.Record(seen.ctx, seen.rows, attributes)
	}
}

func (seen *observation) log(o *observer, took time.Duration) {
	if !o.logger.Enabled(seen.ctx, slog.LevelWarn) {
		return
	}
	attributes := make([]slog.Attr, 0, 6)
	attributes = append(attributes, slog.String("operation", seen.operation), slog.String("table", seen.table),
		slog.Duration("duration", took), slog.String("outcome", outcome(seen.err)))
	if seen.rows >= 0 {
		attributes = append(attributes, slog.Int64("rows", seen.rows))
	}
	if text := redact(seen.query, o.sqlite); text != "" {
		attributes = append(attributes, slog.String("statement", text))
	}
	o.logger.LogAttrs(seen.ctx, slog.LevelWarn, "slow statement", attributes...)
}

// transaction begins the span of a transaction, which is the parent of its statements. It returns what
// tells of an attempt that is to be made again, and of the end.
func (o *observer) transaction(ctx context.Context) (inner context.Context, again, end func(attempt int, err error)) {
	inner, again, end = ctx, func(int, error) {}, func(int, error) {}
	if o == nil || o.tracer == nil {
		return inner, again, end
	}
	defer forgive()
	begun, span := o.tracer.Start(ctx, "transaction", trace.WithAttributes(o.common...))
	inner = begun
	again = func(attempt int, err error) {
		defer forgive()
		span.AddEvent("retry", trace.WithAttributes(append(failure(err), attribute.Int(attempts, attempt))...))
	}
	end = func(attempt int, err error) {
		defer forgive()
		defer span.End()
		span.SetAttributes(attribute.Int(attempts, attempt))
		if err != nil {
			failSpan(span, err)
		}
	}
	return inner, again, end
}

func failSpan(span trace.Span, err error) {
	span.SetAttributes(failure(err)...)
	span.SetStatus(codes.Error, outcome(err))
}

// failure is what may be told of an error: its kind, and the code of the database.
func failure(err error) []attribute.KeyValue {
	out := []attribute.KeyValue{semconv.ErrorTypeKey.String(outcome(err))}
	if e, ok := errors.AsType[*Error](err); ok {
		out = append(out, semconv.DBResponseStatusCode(strings.TrimPrefix(e.Code, "SQLite ")))
	}
	return out
}

// outcome is the kind of an error in one word.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, kind := range []struct {
		err  error
		name string
	}{
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline_exceeded"},
		{ErrUnique, "unique"},
		{ErrForeignKey, "foreign_key"},
		{ErrCheck, "check"},
		{ErrNotNull, "not_null"},
		{ErrBusy, "busy"},
		{ErrSerialization, "serialization"},
		{ErrReadOnly, "read_only"},
		{ErrTxFailed, "transaction_failed"},
		{driver.ErrBadConn, "connection_lost"},
	} {
		if errors.Is(err, kind.err) {
			return kind.name
		}
	}
	_, network := errors.AsType[net.Error](err)
	e, answered := errors.AsType[*Error](err)
	switch {
	case network || lost(err) || errors.Is(err, errRowsLost) || errors.Is(err, errLost) || answered && (strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "57P")):
		return "connection_lost"
	case answered:
		return "refused"
	}
	return semconv.ErrorTypeOther.Value.AsString()
}

// waiters are how many wait for a connection. One that is nil does not count.
type waiters struct{ readers, writers atomic.Int64 }

// observePools tells of the pools whenever metrics are collected, until stop.
func (db *DB) observePools(meters metric.MeterProvider, common []attribute.KeyValue) (stop func() error, err error) {
	var (
		count   dbconv.ClientConnectionCountObservable
		most    dbconv.ClientConnectionMaxObservable
		pending dbconv.ClientConnectionPendingRequestsObservable
	)
	meter := meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	counts, err0 := meter.Int64ObservableUpDownCounter(count.Name(), metric.WithUnit(count.Unit()), metric.WithDescription(count.Description()))
	mosts, err1 := meter.Int64ObservableUpDownCounter(most.Name(), metric.WithUnit(most.Unit()), metric.WithDescription(most.Description()))
	pendings, err2 := meter.Int64ObservableUpDownCounter(pending.Name(), metric.WithUnit(pending.Unit()), metric.WithDescription(pending.Description()))
	if err := errors.Join(err0, err1, err2); err != nil {
		return nil, err
	}
	observe := func(to metric.Observer, pool *stdsql.DB, name string, waiting int64) {
		stats := pool.Stats()
		in := slices.Concat(common, []attribute.KeyValue{semconv.DBClientConnectionPoolName(name)})
		to.ObserveInt64(counts, int64(stats.Idle), metric.WithAttributes(in...), metric.WithAttributes(semconv.DBClientConnectionStateIdle))
		to.ObserveInt64(counts, int64(stats.InUse), metric.WithAttributes(in...), metric.WithAttributes(semconv.DBClientConnectionStateUsed))
		to.ObserveInt64(mosts, int64(stats.MaxOpenConnections), metric.WithAttributes(in...))
		to.ObserveInt64(pendings, waiting, metric.WithAttributes(in...))
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		readers, writers := db.waiting.readers.Load(), db.waiting.writers.Load()
		if db.reader == db.writer {
			observe(to, db.writer, "reviewpoint", readers+writers)
			return nil
		}
		observe(to, db.writer, "reviewpoint writer", writers)
		observe(to, db.reader, "reviewpoint readers", readers)
		return nil
	}, counts, mosts, pendings)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}
