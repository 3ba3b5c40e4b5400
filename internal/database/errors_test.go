package database_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/lib/pq"

	"github.com/reviewpoint/models/internal/database"
)

func TestErrors_Constraints(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		execute(t, db, "CREATE TABLE people (id integer PRIMARY KEY, email text NOT NULL UNIQUE, age integer CHECK (age >= 0))")
		execute(t, db, "CREATE TABLE pets (id integer PRIMARY KEY, owner integer NOT NULL REFERENCES people (id))")
		execute(t, db, "CREATE TABLE badges (owner integer NOT NULL REFERENCES people (id) ON DELETE RESTRICT)") // of which SQLite makes a trigger
		execute(t, db, "INSERT INTO people (id, email) VALUES (1, 'ada@example.org')")
		execute(t, db, "INSERT INTO badges (owner) VALUES (1)")
		for query, want := range map[string]error{
			"INSERT INTO people (id, email) VALUES (2, 'ada@example.org')":                                        database.ErrUnique,
			"INSERT INTO people (id, email) VALUES (1, 'grace@example.org')":                                      database.ErrUnique,
			"INSERT INTO people (id, email, age) VALUES (2, 'grace@example.org', -1)":                             database.ErrCheck,
			"INSERT INTO people (id) VALUES (2)":                                                                  database.ErrNotNull,
			"INSERT INTO pets (id, owner) VALUES (1, 99)":                                                         database.ErrForeignKey,
			"DELETE FROM people WHERE id = 1":                                                                     database.ErrForeignKey,
			"INSERT INTO people (id, email) VALUES (2, 'grace@example.org'), (2, 'ada@example.org') RETURNING id": database.ErrUnique,
			"UPDATE people SET age = -1 WHERE email = 'ada@example.org'":                                          database.ErrCheck,
		} {
			_, err := db.ExecContext(t.Context(), query)
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", query, err, want)
				continue
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "@example.org") {
				t.Errorf("%s: the error holds the address: %#v", query, err)
			}
			if !errors.Is(want, database.ErrNotNull) && !sqlgraph.IsConstraintError(err) {
				t.Errorf("%s: ent does not know it for a violated constraint: %v", query, err)
			}
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO people (id, email) VALUES (2, 'ada@example.org')"); !sqlgraph.IsUniqueConstraintError(err) {
			t.Errorf("ent does not know it for a unique constraint: %v", err)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO pets (id, owner) VALUES (1, 99)"); !sqlgraph.IsForeignKeyConstraintError(err) {
			t.Errorf("ent does not know it for a foreign key: %v", err)
		}
	})
}

// A server may answer in any language. What is told apart, and shown, comes from the code.
func TestErrors_PostgresInAnotherLanguage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  pq.Error
		want error
		text string
	}{
		{pq.Error{Code: "23505", Constraint: "user_email", Message: "doppelter Schlüsselwert verletzt Unique-Constraint »user_email«"}, database.ErrUnique, `violates unique constraint "user_email"`},
		{pq.Error{Code: "23503", Constraint: "files_users_files", Message: "Einfügen verletzt Fremdschlüssel-Constraint"}, database.ErrForeignKey, `violates foreign key constraint "files_users_files"`},
		{pq.Error{Code: "23514", Constraint: "files_size", Message: "neue Zeile verletzt Check-Constraint"}, database.ErrCheck, `violates check constraint "files_size"`},
		{pq.Error{Code: "23502", Column: "email", Message: "NULL-Wert verletzt Not-Null-Constraint"}, database.ErrNotNull, `column "email"`},
		{pq.Error{Code: "40001", Message: "konnte Zugriff nicht serialisieren"}, database.ErrSerialization, "conflicts"},
		{pq.Error{Code: "40P01", Message: "Verklemmung entdeckt"}, database.ErrSerialization, "conflicts"},
		{pq.Error{Code: "55P03", Message: "storniere Anfrage wegen Zeitüberschreitung bei Sperren"}, database.ErrBusy, "lock"},
		{pq.Error{Code: "25006", Message: "kann INSERT nicht in einer Read-Only-Transaktion ausführen"}, database.ErrReadOnly, "read-only"},
		{pq.Error{Code: "25P02", Message: "aktuelle Transaktion wurde abgebrochen"}, database.ErrTxFailed, "rolled back"},
		{pq.Error{Code: "57014", Message: "storniere Anfrage wegen Zeitüberschreitung"}, context.DeadlineExceeded, "deadline"},
		{pq.Error{Code: "22P02", Message: "ungültige Eingabesyntax für Typ integer: »geheim«"}, nil, "invalid text representation"},
		{pq.Error{Code: "P0001", Message: "geheim"}, nil, "raise exception"},
	} {
		e := test.err
		e.Detail = "Schlüssel »(email)=(geheim)« existiert bereits."
		err := database.Translate(context.Background(), &e)
		if (test.want != nil && !errors.Is(err, test.want)) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v with %q", e.Code, err, test.want, test.text)
		}
		if errors.As(err, new(*pq.Error)) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), "geheim") {
			t.Errorf("%s: the server's own words leave the layer: %#v", e.Code, err)
		}
	}
}

func TestErrors_Cancelled(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, stop := context.WithTimeout(context.Background(), 0)
	defer stop()
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, late: context.DeadlineExceeded} {
		if err := database.Translate(ctx, &pq.Error{Code: "57014"}); !errors.Is(err, want) {
			t.Errorf("a cancelled statement: %v, want %v", err, want)
		}
	}
	onEach(t, func(t *testing.T, url string) {
		db := open(t, url)
		for ctx, want := range map[context.Context]error{cancelled: context.Canceled, late: context.DeadlineExceeded} {
			if _, err := db.ExecContext(ctx, "CREATE TABLE never (id integer)"); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			err := db.InTx(ctx, func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "CREATE TABLE never (id integer)")
				return err
			})
			if !errors.Is(err, want) {
				t.Errorf("in a transaction: %v, want %v", err, want)
			}
		}
		execute(t, db, "CREATE TABLE never (id integer)")
	})
}
