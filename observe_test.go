package models_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/user"
)

// observed is what a store tells of itself.
type observed struct {
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer // of the test's own spans
	reader *sdkmetric.ManualReader
	log    lockedBuffer
	opts   []models.Option
}

type lockedBuffer struct {
	bytes.Buffer

	mu sync.Mutex
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func observe() *observed {
	o := &observed{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans))
	o.tracer = tracers.Tracer("test")
	o.opts = []models.Option{
		models.WithTracerProvider(tracers),
		models.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))),
		models.WithLogger(slog.New(slog.NewJSONHandler(&o.log, nil))),
		models.WithSlowQuery(1),
	}
	return o
}

// eachObserved runs a test on an observed and migrated store on each database.
func eachObserved(t *testing.T, test func(t *testing.T, ctx context.Context, s *models.Store, o *observed)) {
	t.Helper()
	eachURL(t, func(t *testing.T, url string) {
		o := observe()
		s := open(t, url, append(o.opts, models.CheapHashing)...)
		must(s.Migrate(t.Context()))(t)
		o.spans.Reset()
		test(t, models.AsSystem(t.Context(), "test"), s, o)
	})
}

// names of the spans that have ended, in order.
func (o *observed) names() []string {
	var out []string
	for _, span := range o.spans.Ended() {
		out = append(out, span.Name())
	}
	return out
}

// last is the last span of a name, and its attributes.
func (o *observed) last(t *testing.T, name string) (sdktrace.ReadOnlySpan, map[string]string) {
	t.Helper()
	for _, span := range slices.Backward(o.spans.Ended()) {
		if span.Name() == name {
			attributes := make(map[string]string)
			for _, a := range span.Attributes() {
				attributes[string(a.Key)] = a.Value.String()
			}
			return span, attributes
		}
	}
	t.Fatalf("there is no span %q in %v", name, o.names())
	return nil, nil
}

func (o *observed) metrics(t *testing.T) map[string]metricdata.Aggregation {
	t.Helper()
	var collected metricdata.ResourceMetrics
	check(t, o.reader.Collect(t.Context(), &collected))
	out := make(map[string]metricdata.Aggregation)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			out[m.Name] = m.Data
		}
	}
	return out
}

// everything is all that was told, as text.
func (o *observed) everything(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	for _, span := range o.spans.Ended() {
		fmt.Fprintln(&out, span.Name(), span.Status(), span.Links(), span.Resource())
		for _, a := range span.Attributes() {
			fmt.Fprintln(&out, a.Key, a.Value.String())
		}
		for _, event := range span.Events() {
			fmt.Fprintf(&out, "%+v\n", event)
			for _, a := range event.Attributes {
				fmt.Fprintln(&out, a.Key, a.Value.String())
			}
		}
	}
	for name, data := range o.metrics(t) {
		fmt.Fprintln(&out, name, string(must(json.Marshal(data))(t)))
		fmt.Fprintf(&out, "%+v\n", data)
	}
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	return out.String() + o.log.String()
}

// TestTelemetry_HoldsNoValue runs every kind of statement, those that fail too, and looks for values in all
// that is told.
func TestTelemetry_HoldsNoValue(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		o := observe()
		p.Store = open(t, p.url, append(o.opts, models.CheapHashing)...)
		for _, way := range p.ways() {
			for _, st := range p.statements() {
				_ = way.run(ctx, st.run)
			}
		}
		for _, text := range []string{
			"SELECT id FROM users WHERE email = '" + canaryAddress + "' AND name <> '" + canaryName + "''s' -- " + canaryBio,
			"SELECT id /* " + canaryBio + " */ FROM users",
			"UPDATE users SET bio = '" + canaryBio + "' WHERE email = '" + canaryAddress + "' RETURNING bio",
			"SELECT '\\' || '" + canaryHash + "' || '\\'", "SELECT E'\\'" + canaryHash + "'", "SELECT $$" + canaryHash + "$$", "SELECT $a$" + canaryHash + "$a$",
			`SELECT "` + canaryHash + `" FROM users`, `SELECT 1 AS "` + canaryAddress + `"`, "SELECT `" + canaryHash + "`", "SELECT [it's " + canaryHash + "] '" + canaryJti,
			"SELECT 'unfinished " + canaryHash, `SELECT "unfinished ` + canaryHash, canaryHash, "FROM '" + canaryHash + "'", "'" + canaryHash + "'", "",
			"SELECT 1; SELECT 'x" + canaryNonce + "'", "SET application_name = '" + canaryHash + "'", "NOTIFY x, '" + canaryHash + "'", "INSERT INTO users (email) VALUES ('" + canaryAddress + "')",
			"INSERT INTO blacklisted_tokens (jti, expires_at) VALUES ('" + canaryJti + "', '2030-01-01 00:00:00')",
			"DELETE FROM files WHERE filename LIKE '%" + canaryFile + "%'", "CREATE TABLE a (b text DEFAULT '" + canaryHash + "')", "SELECT json_extract('" + canaryPreference + "', '$')",
		} {
			_ = p.raw(ctx, text)
			_, _ = p.ExecContext(ctx, text)
			_ = p.InTx(ctx, func(ctx context.Context) error { return p.raw(ctx, text) })
			_ = p.InTx(ctx, func(context.Context) error { return errors.New(text) })
		}
		visitor := models.AsAnonymous(t.Context())
		_, _ = p.Register(visitor, canaryAddress, canaryHash)
		_, _ = p.Register(visitor, "new-"+canaryAddress, canaryHash)
		_, _ = p.Authenticate(visitor, "new-"+canaryAddress, canaryHash)
		_, _ = p.Authenticate(visitor, canaryAddress, canaryHash)
		_ = p.ResetPassword(visitor, "new-"+canaryAddress, canaryNonce, canaryHash+"2")
		_ = p.RevokeToken(ctx, canaryJti, time.Now().Add(time.Hour))
		_, _ = p.TokenRevoked(ctx, canaryJti)
		_, _ = p.UserByEmail(ctx, canaryAddress)
		_, _ = p.CreateFiles(ctx, p.plain.ID, []models.NewFile{{Filename: canaryFile, ContentType: "a/b"}})
		_, _, _ = p.DeleteFiles(ctx, p.plain.ID, []string{canaryFile})
		_ = p.ExportSubject(ctx, p.plain.ID, &bytes.Buffer{})
		_, _ = p.Health(ctx)

		told := o.everything(t)
		for _, secret := range p.secrets {
			if holds(told, secret) {
				at := max(0, strings.Index(told, secret)-300)
				t.Errorf("it is told %q: %s", secret, told[at:min(len(told), at+500)])
			}
		}
		for _, want := range []string{"INSERT users", `"table":"files"`, `"outcome":"unique"`, "unique", "affected_rows", "transaction", `WHERE email = ? AND`} {
			if !strings.Contains(told, want) {
				t.Errorf("nothing tells %q", want)
			}
		}
	})
}

// TestTelemetry_Methods calls every method that has rules, and looks at the spans of it.
func TestTelemetry_Methods(t *testing.T) {
	t.Parallel()
	wants := map[string]string{
		"Register": "INSERT users", "Authenticate": "SELECT users", "ChangePassword": "UPDATE users", "SetPassword": "UPDATE users",
		"ResetPassword": "INSERT used_password_reset_tokens", "ConsumeResetToken": "INSERT used_password_reset_tokens",
		"CheckToken": "SELECT blacklisted_tokens", "TokenRevoked": "SELECT blacklisted_tokens", "RevokeToken": "INSERT blacklisted_tokens", "RevokeTokens": "INSERT blacklisted_tokens",
		"RevokeAllTokens": "UPDATE users", "UserByID": "SELECT users", "UserByEmail": "SELECT users", "SignupsPerMonth": "SELECT users",
		"UpsertUser": "UPDATE users", "UpsertUser of a new account": "INSERT users", "DeactivateUser": "INSERT audit_logs", "AnonymizeUser": "UPDATE audit_logs",
		"CreateFiles": "INSERT files", "ListFiles": "SELECT files", "DeleteFiles": "DELETE files", "ExportSubject": "SELECT audit_logs", "ImportUsers": "INSERT users",
		"PurgeExpired": "DELETE blacklisted_tokens",
	}
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		w := newWorld(t, ctx, s)
		check(t, s.SetPassword(ctx, w.target.ID, goodPassword))
		w.target = must(s.Authenticate(ctx, w.target.Email, goodPassword))(t)
		for name, call := range w.calls(t, ctx) {
			try := s.InTx
			if name == "PurgeExpired" || strings.HasPrefix(name, "ImportUsers") { // not inside InTx
				try = func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
			}
			o.spans.Reset()
			err := try(ctx, func(ctx context.Context) error {
				_, err := call.operation(ctx)
				return errors.Join(err, errUndone)
			})
			if err.Error() != errUndone.Error() {
				t.Errorf("%s: %v", name, err)
			}
			names := o.names()
			must(s.User.Delete().Where(user.Email("new@example.org")).Exec(models.HardDelete(ctx)))(t)
			if want := wants[name]; want != "" && !slices.Contains(names, want) {
				t.Errorf("%s: the spans are %v, want %q among them", name, names, want)
			}
			if !slices.ContainsFunc(names, func(span string) bool { return strings.Contains(span, " ") }) {
				t.Errorf("%s: the spans are %v, want a table", name, names)
			}
			for _, span := range o.spans.Ended() {
				if strings.HasPrefix(span.Name(), "OTHER") {
					t.Errorf("%s: the spans are %v, want each operation by its name", name, names)
				}
				if client := span.SpanKind() == trace.SpanKindClient; client != (span.Name() != "transaction") {
					t.Errorf("%s: %s is of kind %s", name, span.Name(), span.SpanKind())
				}
			}
		}
	})
}

func TestTelemetry_Statement(t *testing.T) {
	t.Parallel()
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		check(t, s.User.CreateBulk(newUser(s), newUser(s), newUser(s)).Exec(ctx))
		inside, request := o.tracer.Start(ctx, "request")
		must(s.User.Query().All(inside))(t)
		must(s.ExecContext(inside, "UPDATE users SET bio = 'x'"))(t)
		request.End()
		system := map[string]string{"sqlite3": "sqlite", "postgres": "postgresql"}[s.Dialect()]
		for name, want := range map[string]string{
			"SELECT users": "db.response.returned_rows 3", "UPDATE users": "reviewpoint.affected_rows 3",
		} {
			span, got := o.last(t, name)
			operation, _, _ := strings.Cut(name, " ")
			key, rows, _ := strings.Cut(want, " ")
			if got["db.system.name"] != system || got["db.operation.name"] != operation || got["db.collection.name"] != "users" || got["db.query.summary"] != name || got["db.namespace"] == "" || got[key] != rows {
				t.Errorf("%s has the attributes %v, want %s", name, got, want)
			}
			if _, ok := got["db.query.text"]; ok || got["error.type"] != "" {
				t.Errorf("%s has the attributes %v", name, got)
			}
			if span.Parent().SpanID() != request.SpanContext().SpanID() {
				t.Errorf("%s is not a child of its caller's span", name)
			}
			if span.InstrumentationScope().SchemaURL != "https://opentelemetry.io/schemas/1.43.0" {
				t.Errorf("the schema is %q", span.InstrumentationScope().SchemaURL)
			}
		}
		metrics := o.metrics(t)
		for name, want := range map[string]attribute.Set{
			"db.client.operation.duration":     attribute.NewSet(attribute.String("db.operation.name", "UPDATE"), attribute.String("db.collection.name", "users")),
			"reviewpoint.affected_rows":        attribute.NewSet(attribute.String("db.operation.name", "UPDATE"), attribute.String("db.collection.name", "users")),
			"db.client.response.returned_rows": attribute.NewSet(attribute.String("db.operation.name", "SELECT"), attribute.String("db.collection.name", "users")),
		} {
			if !hasPoint(metrics[name], want) {
				t.Errorf("%s has no point of %v: %+v", name, want.ToSlice(), metrics[name])
			}
		}
	})
}

// hasPoint reports whether data has a point with attributes.
func hasPoint(data metricdata.Aggregation, want attribute.Set) bool {
	var sets []attribute.Set
	switch data := data.(type) {
	case metricdata.Histogram[float64]:
		for _, point := range data.DataPoints {
			sets = append(sets, point.Attributes)
		}
	case metricdata.Histogram[int64]:
		for _, point := range data.DataPoints {
			sets = append(sets, point.Attributes)
		}
	case metricdata.Sum[int64]:
		for _, point := range data.DataPoints {
			sets = append(sets, point.Attributes)
		}
	}
	return slices.ContainsFunc(sets, func(set attribute.Set) bool {
		for _, a := range want.ToSlice() {
			if value, ok := set.Value(a.Key); !ok || value != a.Value {
				return false
			}
		}
		return true
	})
}

func TestTelemetry_Outcome(t *testing.T) {
	t.Parallel()
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		outcome := func(span, want, code string) {
			t.Helper()
			ended, got := o.last(t, span)
			if got["error.type"] != want || ended.Status().Description != want || (code != "") != (got["db.response.status_code"] != "") || code != "" && !strings.Contains(code, got["db.response.status_code"]) {
				t.Errorf("%s ended with %v, %v; want %s", span, got, ended.Status(), want)
			}
			if !hasPoint(o.metrics(t)["db.client.operation.duration"], attribute.NewSet(attribute.String("error.type", want))) {
				t.Errorf("no duration of the outcome %s", want)
			}
			if !strings.Contains(o.everything(t), `"outcome":"`+want+`"`) {
				t.Errorf("no line of the outcome %s", want)
			}
		}
		u := must(newUser(s).Save(ctx))(t)
		if err := newUser(s).SetEmail(u.Email).Exec(ctx); !ent.IsConstraintError(err) {
			t.Fatal(err)
		}
		outcome("INSERT users", "unique", "23505 2067")
		if _, err := s.ExecContext(ctx, "INSERT INTO files (filename) VALUES ('x')"); err == nil {
			t.Fatal("a file was made of nothing")
		}
		outcome("INSERT files", "not_null", "23502 1299")
		if _, err := s.ExecContext(ctx, "DELETE FROM users WHERE nosuch"); err == nil {
			t.Fatal("there is no such column")
		}
		outcome("DELETE users", "refused", "42703 1")

		ended, end := context.WithCancel(ctx)
		rows := must(s.QueryContext(ended, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i, email FROM n, users"))(t)
		defer rows.Close()
		rows.Next()
		end()
		for rows.Next() {
		}
		if err := rows.Err(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		rows.Close() // Else database/sql does so in the background.
		outcome("SELECT", "canceled", "")
	})
}

// TestTelemetry_OutcomeOfWaiting: those who wait for a connection in vain are told of, too.
func TestTelemetry_OutcomeOfWaiting(t *testing.T) {
	t.Parallel()
	o := observe()
	url := "sqlite://" + t.TempDir() + "/test.db?busy_timeout=10ms"
	s, other := open(t, url, append(o.opts, models.WithMaxConns(1))...), open(t, url)
	ctx := models.AsSystem(t.Context(), "test")
	must(s.Migrate(ctx))(t)
	busy := func(how, span string, err error) {
		t.Helper()
		if !errors.Is(err, models.ErrBusy) {
			t.Errorf("%s: %v", how, err)
		}
		if _, got := o.last(t, span); got["error.type"] != "busy" {
			t.Errorf("%s: %s has %v", how, span, got)
		}
		o.spans.Reset()
	}
	check(t, s.InTx(ctx, func(in context.Context) error {
		check(t, newUser(s).Exec(in))
		_, err := s.ExecContext(ctx, "DELETE FROM files")
		busy("another goroutine", "DELETE files", err)
		busy("its transaction", "BEGIN", s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }))
		return nil
	}))
	check(t, other.InTx(ctx, func(in context.Context) error {
		check(t, newUser(other).Exec(in))
		busy("another process", "BEGIN", s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }))
		return nil
	}))

	rows := must(s.QueryContext(ctx, "SELECT id FROM users UNION SELECT 2"))(t) // holds the only reader
	defer rows.Close()
	rows.Next()
	waiting, end := context.WithCancel(ctx)
	answered := make(chan error, 1)
	go func() { _, err := s.UserByID(waiting, 1); answered <- err }()
	pending := attribute.NewSet(attribute.String("db.client.connection.pool.name", "reviewpoint readers"))
	for value(o.metrics(t)["db.client.connection.pending_requests"], pending) == 0 {
		runtime.Gosched()
	}
	end()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, got := o.last(t, "SELECT users"); got["error.type"] != "canceled" {
		t.Errorf("a read that waited has %v", got)
	}
	used := attribute.NewSet(attribute.String("db.client.connection.pool.name", "reviewpoint readers"), attribute.String("db.client.connection.state", "used"))
	if n := value(o.metrics(t)["db.client.connection.count"], used); n != 1 {
		t.Errorf("%d readers are used, want 1", n)
	}
	check(t, errors.Join(rows.Err(), rows.Close()))
	if n := value(o.metrics(t)["db.client.connection.pending_requests"], pending); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
}

// value is the sum of the points with attributes, or -1.
func value(data metricdata.Aggregation, want attribute.Set) int64 {
	total := int64(-1)
	sum, _ := data.(metricdata.Sum[int64])
	for _, point := range sum.DataPoints {
		if hasPoint(metricdata.Sum[int64]{DataPoints: []metricdata.DataPoint[int64]{point}}, want) {
			total = max(total, 0) + point.Value
		}
	}
	return total
}

func TestTelemetry_Transaction(t *testing.T) {
	t.Parallel()
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			return errors.Join(newUser(s).Exec(ctx), s.InTx(ctx, func(ctx context.Context) error { _, err := s.User.Query().Count(ctx); return err }))
		}))
		transaction, got := o.last(t, "transaction")
		if got["reviewpoint.attempts"] != "1" || got["error.type"] != "" || len(transaction.Events()) != 0 {
			t.Errorf("the transaction has %v, %v", got, transaction.Events())
		}
		for _, name := range []string{"BEGIN", "INSERT users", "INSERT audit_logs", "SELECT users", "COMMIT"} {
			if span, _ := o.last(t, name); span.Parent().SpanID() != transaction.SpanContext().SpanID() {
				t.Errorf("%s is not a child of the transaction", name)
			}
		}
		if n := len(slices.DeleteFunc(o.names(), func(name string) bool { return name != "transaction" })); n != 1 {
			t.Errorf("%d spans of transactions, want 1: %v", n, o.names())
		}

		o.spans.Reset()
		attempts := 0
		check(t, s.InTx(ctx, func(ctx context.Context) error {
			check(t, newUser(s).Exec(ctx))
			if attempts++; attempts < 3 {
				return again{}
			}
			return nil
		}))
		transaction, got = o.last(t, "transaction")
		if got["reviewpoint.attempts"] != "3" || len(transaction.Events()) != 2 || transaction.Events()[0].Name != "retry" {
			t.Errorf("the transaction has %v, %v", got, transaction.Events())
		}
		o.last(t, "ROLLBACK")

		func() {
			defer func() { _ = recover() }()
			_ = s.InTx(ctx, func(ctx context.Context) error { panic(errOnPurpose) })
		}()
		if _, got := o.last(t, "transaction"); got["error.type"] == "" {
			t.Error("the transaction of a function that panicked is a good one")
		}
	})
}

// again is an error that says that trying again may help.
type again struct{}

func (again) Error() string { return "again" }
func (again) Retry() bool   { return true }

func TestWithSlowQuery(t *testing.T) {
	t.Parallel()
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		u := must(newUser(s).Save(ctx))(t)
		line := func() map[string]any {
			t.Helper()
			lines := strings.Split(strings.TrimSpace(o.log.String()), "\n")
			var out map[string]any
			check(t, json.Unmarshal([]byte(lines[len(lines)-1]), &out))
			return out
		}
		must(s.UserByID(ctx, u.ID))(t)
		got := line()
		if text, _ := got["statement"].(string); !strings.Contains(text, "FROM users WHERE") || !strings.Contains(text, "$1") {
			t.Errorf("the statement is %q", text)
		}
		if got["level"] != "WARN" || got["msg"] != "slow statement" || got["operation"] != "SELECT" || got["table"] != "users" || got["outcome"] != "ok" || got["rows"] != 1.0 || got["duration"] == 0.0 {
			t.Errorf("the line is %v", got)
		}
		must(s.ExecContext(ctx, "UPDATE users SET name = 'O''Hara', bio = $1 WHERE id IN (1, 20, 3e1) AND email <> 'x'", "y"))(t)
		want := "UPDATE users SET name = ?, bio = $1 WHERE id IN (?, ?, ?) AND email <> ?"
		if got := line(); got["statement"] != want {
			t.Errorf("the statement is %v, want %s", got["statement"], want)
		}
	})
	var log bytes.Buffer
	s := models.OpenTest(t, models.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), models.WithSlowQuery(time.Hour))
	ctx := models.AsSystem(t.Context(), "test")
	must(s.User.Query().All(ctx))(t)
	if log.Len() > 0 {
		t.Errorf("what is not slow is logged: %s", &log)
	}
	must(s.Debug().User.Query().All(ctx))(t)
	if !strings.Contains(log.String(), "SELECT") {
		t.Errorf("Debug does not write to the logger: %q", &log)
	}
}

func TestTelemetry_Close(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		o := observe()
		s := must(models.Open(t.Context(), url, o.opts...))(t)
		most := value(o.metrics(t)["db.client.connection.max"], attribute.NewSet())
		if most < 4 {
			t.Errorf("there may be %d connections", most)
		}
		check(t, s.Close())
		check(t, s.Close())
		for name, data := range o.metrics(t) {
			if strings.HasPrefix(name, "db.client.connection.") && value(data, attribute.NewSet()) >= 0 {
				t.Errorf("%s is still told: %+v", name, data)
			}
		}
	})
}

func TestTelemetry_Concurrent(t *testing.T) {
	t.Parallel()
	eachObserved(t, func(t *testing.T, ctx context.Context, s *models.Store, o *observed) {
		u := must(newUser(s).Save(ctx))(t)
		o.spans.Reset()
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for i := range 20 {
					if _, err := s.UserByID(ctx, u.ID); err != nil {
						t.Error(err)
					}
					if _, err := s.User.Query().Limit(i + 1).All(ctx); err != nil {
						t.Error(err)
					}
				}
				if err := s.User.UpdateOneID(u.ID).SetName("Ada").Exec(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for range 20 {
			o.metrics(t)
		}
		wait.Wait()
		if n := len(slices.DeleteFunc(o.names(), func(name string) bool { return name != "SELECT users" })); n < 320 {
			t.Errorf("%d spans of reads, want 320 or more", n)
		}
	})
}

// TestTelemetry_Panics uses providers and a handler that panic.
func TestTelemetry_Panics(t *testing.T) {
	t.Parallel()
	eachURL(t, func(t *testing.T, url string) {
		ctx := models.AsSystem(t.Context(), "test")
		s := open(t, url, models.WithTracerProvider(panicking{}), models.WithLogger(slog.New(panicking{})), models.WithSlowQuery(1))
		must(s.Migrate(ctx))(t)
		check(t, s.InTx(ctx, func(ctx context.Context) error { return newUser(s).Exec(ctx) }))
		if n := countUsers(t, ctx, s); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
		late := open(t, url, models.WithMeterProvider(panickingMeters{}))
		check(t, newUser(late).Exec(ctx))
	})
}

type panicking struct {
	tracenoop.TracerProvider
	slog.Handler
}

func (panicking) Tracer(string, ...trace.TracerOption) trace.Tracer { return panickingTracer{} }
func (panicking) Enabled(context.Context, slog.Level) bool          { panic("handler") }

type panickingTracer struct{ tracenoop.Tracer }

func (panickingTracer) Start(context.Context, string, ...trace.SpanStartOption) (context.Context, trace.Span) {
	panic("tracer")
}

type panickingMeters struct{ metricnoop.MeterProvider }

func (panickingMeters) Meter(string, ...metric.MeterOption) metric.Meter { return panickingMeter{} }

type panickingMeter struct{ metricnoop.Meter }

func (panickingMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return panickingHistogram{}, nil
}

type panickingHistogram struct{ metricnoop.Float64Histogram }

func (panickingHistogram) Record(context.Context, float64, ...metric.RecordOption) {
	panic("histogram")
}

func TestTelemetry_Options(t *testing.T) {
	t.Parallel()
	for want, opt := range map[string]models.Option{
		"WithTracerProvider: the provider is nil":     models.WithTracerProvider(nil),
		"WithMeterProvider: the provider is nil":      models.WithMeterProvider(nil),
		"WithLogger: the logger is nil":               models.WithLogger(nil),
		"WithSlowQuery: the threshold must be longer": models.WithSlowQuery(0),
		"WithSlowQuery: say with WithLogger where":    models.WithSlowQuery(time.Second),
	} {
		s, err := models.Open(t.Context(), "sqlite://:memory:", opt)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
