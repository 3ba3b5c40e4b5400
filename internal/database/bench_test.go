package database_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/dbtest"
)

// The read of one row by its id: with and without prepared statements, and by a prepared statement of
// lib/pq's own on one connection, which is the floor.
func BenchmarkPostgres_PointRead(b *testing.B) {
	url := dbtest.Postgres(b)
	execute(b, open(b, url), "CREATE TABLE people (id bigint PRIMARY KEY, email varchar(255) NOT NULL, name text, active boolean NOT NULL, created timestamptz NOT NULL DEFAULT now())")
	execute(b, open(b, url), "INSERT INTO people (id, email, name, active) SELECT n, 'person' || n || '@example.org', 'Ada', true FROM generate_series(1, 10000) n")
	execute(b, open(b, url), "ANALYZE people")
	const query = `SELECT "people"."id", "people"."email", "people"."name", "people"."active", "people"."created" FROM "people" WHERE "people"."id" = $1 LIMIT 2`
	ctx := b.Context() // It can end, as that of a request can.
	run := func(b *testing.B, ask func(ctx context.Context, id int64) (*sql.Rows, error)) {
		b.Helper()
		b.ReportAllocs()
		var row struct {
			id          int64
			email, name string
			active      bool
			created     sql.NullTime
		}
		read := func(id int64) error {
			rows, err := ask(ctx, id)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				if err := rows.Scan(&row.id, &row.email, &row.name, &row.active, &row.created); err != nil {
					return err
				}
			}
			return rows.Err()
		}
		id := int64(0)
		for b.Loop() {
			id = id%10000 + 1
			if err := read(id); err != nil || row.id != id {
				b.Fatal(err, row.id)
			}
		}
	}
	layer := func(option string) func(b *testing.B) {
		return func(b *testing.B) {
			b.Helper()
			db, err := database.Open(ctx, url+option, database.Options{MaxConns: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			run(b, func(ctx context.Context, id int64) (*sql.Rows, error) { return db.QueryContext(ctx, query, id) })
		}
	}
	b.Run("off", layer("&statement_cache_size=0"))
	b.Run("on", layer(""))
	b.Run("raw", func(b *testing.B) {
		pool, err := sql.Open("postgres", url+"&binary_parameters=yes")
		if err != nil {
			b.Fatal(err)
		}
		defer pool.Close()
		pool.SetMaxOpenConns(1)
		stmt, err := pool.PrepareContext(ctx, query)
		if err != nil {
			b.Fatal(err)
		}
		defer stmt.Close()
		run(b, func(ctx context.Context, id int64) (*sql.Rows, error) { return stmt.QueryContext(ctx, id) })
	})
}
