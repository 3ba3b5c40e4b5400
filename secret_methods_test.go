package models_test

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"

	"entgo.io/ent/schema/field"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/row"
)

// TestMethods_ShowNoSecret has every method of the store fail in each way that the database has, and looks
// for what it was given, and for the rows, in what it answers, and in all that is logged, traced and
// measured of it. No password goes to the database in clear.
func TestMethods_ShowNoSecret(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var (
			s, sent seen
			mu      sync.Mutex
			o       = observe()
			failed  = make(map[string]bool)
			told    = make(map[string]bool)
		)
		p.Store = open(t, strings.Replace(p.url, "=10ms", "=10s", 1), append(o.opts, models.CheapHashing, models.WithStatements(func(query string, args []driver.NamedValue) {
			mu.Lock()
			defer mu.Unlock()
			sent.text("statement", query, fmt.Sprint(query, args))
		}))...)
		check(t, p.SetPassword(ctx, p.victim.ID, goodPassword))
		p.victim = must(p.Authenticate(ctx, canaryAddress, goodPassword))(t)
		w := &world{Store: p.Store, target: p.victim, other: p.plain, admin: p.admin, file: p.file}
		calls := w.calls(t, ctx)
		try := func(why string, ctx context.Context, statements ...string) {
			for name, call := range calls {
				err := p.undone(ctx, func(ctx context.Context) error {
					for _, statement := range statements {
						must(p.ExecContext(ctx, statement))(t)
					}
					_, err := call.operation(ctx)
					return err
				})
				if err == nil {
					continue
				}
				failed[name] = true
				if text := name + err.Error(); !told[text] {
					told[text] = true
					s.err(t, name+", "+why, err)
				}
			}
		}
		for i, ctx := range w.viewers(ctx) {
			try(fmt.Sprint("viewer ", i), ctx)
		}
		clear(failed) // What the rules refuse comes before the database.
		for why, statements := range p.damages() {
			try(why, ctx, statements...)
		}
		for name := range calls {
			if !failed[name] {
				t.Errorf("%s has not failed, so nothing is known of its errors", name)
			}
		}
		s.text("every method", "telemetry", o.everything(t))
		passwords := []string{goodPassword, "another horse"}
		s.wantNone(t, append(append(p.secrets, "$argon2id$"), passwords...)...)
		s.wantShown(t, row.ErrType.Error(), map[string]string{"sqlite3": "refused by a trigger", "postgres": "(55000)"}[p.Dialect()])
		sent.wantNone(t, passwords...)
		sent.wantShown(t, "$argon2id$")
	})
}

// damages are statements after which a database is not as the methods take it to be: a table is not there,
// a column holds something else than it should, or a trigger refuses what is changed, and quotes it.
func (p *planted) damages() map[string][]string {
	damages := make(map[string][]string)
	for _, table := range migrate.Tables {
		name := table.Name
		away := "ALTER TABLE " + name + " RENAME TO gone_" + name
		damages["no "+name] = []string{away}
		for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
			row := map[string]string{"INSERT": "NEW"}[event]
			damages[event+" of "+name] = p.refusal(name, event, cmp.Or(row, "OLD"))
		}
		for _, kind := range []field.Type{field.TypeInt, field.TypeBool, field.TypeTime, field.TypeUUID, field.TypeJSON} {
			var columns []string
			broken := false
			for _, column := range table.Columns {
				if column.Type == kind {
					broken = true
					columns = append(columns, "'"+canaryHash+canaryAddress+"' AS "+column.Name)
				} else {
					columns = append(columns, column.Name)
				}
			}
			if broken {
				damages[name+", "+kind.String()] = []string{away, "CREATE VIEW " + name + " AS SELECT " + strings.Join(columns, ", ") + " FROM gone_" + name}
			}
		}
	}
	return damages
}

// refusal is a trigger that quotes all texts of a row.
func (p *planted) refusal(table, event, row string) []string {
	if p.Dialect() == "postgres" {
		return []string{
			"CREATE FUNCTION refusal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '%', " + row + " USING ERRCODE = '55000', DETAIL = " + row + "::text, HINT = " + row + "::text; END $$",
			"CREATE TRIGGER refusal BEFORE " + event + " ON " + table + " FOR EACH ROW EXECUTE FUNCTION refusal()",
		}
	}
	var texts []string
	for _, t := range migrate.Tables {
		for _, column := range t.Columns {
			if t.Name == table && column.Type == field.TypeString {
				texts = append(texts, "ifnull("+row+"."+column.Name+", '')")
			}
		}
	}
	return []string{"CREATE TRIGGER refusal BEFORE " + event + " ON " + table + " BEGIN SELECT RAISE(ABORT, " + strings.Join(texts, " || ") + "); END"}
}
