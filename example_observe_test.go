package models_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/reviewpoint/models"
)

// Spans of a request, kept in memory. A service gives its exporter to sdktrace.WithBatcher.
func ExampleWithTracerProvider() {
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) // WithBatcher in a service
	store, err := models.Open(context.Background(), "sqlite://:memory:", models.WithTracerProvider(tracers))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	if _, err := store.Migrate(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	spans.Reset() // those of Migrate

	ctx, request := tracers.Tracer("example").Start(context.Background(), "GET /files")
	_, err = store.File.Query().All(models.AsSystem(ctx, "example"))
	request.End()

	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name)
		for _, a := range span.Attributes {
			fmt.Println("   ", a.Key, "=", a.Value.String())
		}
	}
	fmt.Println(err)
	// Output:
	// SELECT files
	//     db.system.name = sqlite
	//     db.namespace = memory
	//     db.operation.name = SELECT
	//     db.collection.name = files
	//     db.query.summary = SELECT files
	//     db.response.returned_rows = 0
	// GET /files
	// <nil>
}

// Metrics, collected by hand. A service gives sdkmetric.NewMeterProvider the reader of its exporter.
func ExampleWithMeterProvider() {
	reader := sdkmetric.NewManualReader()
	store, err := openExample(models.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	ctx := models.AsSystem(context.Background(), "example")
	for range 3 {
		if _, err := store.File.Query().All(ctx); err != nil {
			fmt.Println(err)
		}
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		fmt.Println(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name, m.Unit)
		durations, _ := m.Data.(metricdata.Histogram[float64])
		for _, point := range durations.DataPoints {
			operation, _ := point.Attributes.Value("db.operation.name")
			table, _ := point.Attributes.Value("db.collection.name")
			if operation.String() == "SELECT" && table.String() == "files" {
				fmt.Println("   ", point.Count, "SELECT files")
			}
		}
	}
	// Output:
	// db.client.operation.duration s
	//     3 SELECT files
	// db.client.response.returned_rows {row}
	// reviewpoint.affected_rows {row}
	// db.client.connection.count {connection}
	// db.client.connection.max {connection}
	// db.client.connection.pending_requests {request}
}

// Slow statements in the log, less what their values are.
func ExampleWithSlowQuery() {
	var level slog.LevelVar
	level.Set(slog.LevelError) // until the tables are there
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: &level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" { // which differ each time
			return slog.Attr{}
		}
		return a
	}}))
	store, err := openExample(models.WithLogger(logger), models.WithSlowQuery(time.Nanosecond)) // 200 ms in a service
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	level.Set(slog.LevelWarn)
	if _, err := store.ExecContext(context.Background(), "UPDATE users SET name = 'Ada' WHERE email = $1", "ada@example.org"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// level=WARN msg="slow statement" operation=UPDATE table=users outcome=ok rows=0 statement="UPDATE users SET name = ? WHERE email = $1"
}

// A probe of a service.
func ExampleStore_Health() {
	store, err := models.Open(context.Background(), "sqlite://:memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	for range 2 {
		health, err := store.Health(ctx)
		if err != nil {
			fmt.Println("the database does not answer:", err)
		}
		fmt.Println(health.Dialect, health.Role, "read-only:", health.ReadOnly, "schema:", health.Schema)
		if _, err := store.Migrate(ctx); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// sqlite3 primary read-only: false schema: pending
	// sqlite3 primary read-only: false schema: current
}

// openExample opens a store in memory, with its tables.
func openExample(opts ...models.Option) (*models.Store, error) {
	ctx := context.Background()
	store, err := models.Open(ctx, "sqlite://:memory:", opts...)
	if err != nil {
		return nil, err
	}
	if _, err := store.Migrate(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}
