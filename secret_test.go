package models_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
)

// TestErrors_HoldNoValue provokes every kind of refusal and looks for the row in what is answered.
func TestErrors_HoldNoValue(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		const canary, address, id = "canary", "canary@example.org", 424242
		owner := must(newUser(s).SetEmail(address).SetHashedPassword(canary).Save(ctx))(t)
		f := must(newFile(s, owner).SetFilename(canary).Save(ctx))(t)
		raw := func(query string, args ...any) error {
			_, err := s.ExecContext(ctx, query, args...)
			return err
		}
		long := strings.Repeat(canary, 100)
		for name, err := range map[string]error{
			"unique":                  newUser(s).SetEmail(address).Exec(ctx),
			"unique, in bulk":         s.User.CreateBulk(newUser(s), newUser(s).SetEmail(address)).Exec(ctx),
			"unique, raw":             raw("INSERT INTO users (public_id, email, hashed_password) VALUES ($1, $2, $3)", uuid.NewString(), address, canary),
			"foreign key":             f.Update().SetUserID(id).Exec(ctx),
			"check":                   f.Update().AddSize(-id).Exec(ctx),
			"check, raw":              raw("UPDATE users SET hashed_password = ''"),
			"not null, raw":           raw("UPDATE users SET hashed_password = NULL"),
			"too long":                owner.Update().SetName(long).Exec(ctx),
			"too long, raw":           raw("UPDATE users SET name = $1", long),
			"NUL":                     owner.Update().SetName(canary + "\x00").Exec(ctx),
			"NUL, raw":                raw("UPDATE users SET name = $1", canary+"\x00"),
			"NUL in an object":        owner.Update().SetPreferences(map[string]any{canary: canary + "\x00"}).Exec(ctx),
			"no JSON":                 owner.Update().SetPreferences(map[string]any{canary: func() {}}).Exec(ctx),
			"no JSON, raw":            raw("UPDATE users SET preferences = $1", "{"+canary),
			"no number, raw":          raw("UPDATE files SET size = $1", canary),
			"no number, literally":    raw("UPDATE files SET size = 'canary'"),
			"no time, raw":            raw("UPDATE users SET created_at = $1", canary),
			"no boolean, raw":         raw("UPDATE users SET is_admin = $1", canary),
			"no UUID, raw":            raw("UPDATE users SET public_id = $1", canary),
			"no argument":             raw("UPDATE users SET name = $1", struct{ Name string }{canary}),
			"no such column":          raw("UPDATE users SET nosuch = $1", canary),
			"no such row":             s.User.UpdateOneID(id).SetName(canary).Exec(ctx),
			"a value that is missing": s.User.Create().SetEmail(address).Exec(ctx),
			"no address":              owner.Update().SetEmail(canary).Exec(ctx),
			"too long an address":     owner.Update().SetEmail(long + "@example.org").Exec(ctx),
		} {
			if err == nil {
				t.Errorf("%s is accepted, want an error", name)
			}
			for err := range chain(err) {
				for _, verb := range []string{"%v", "%+v", "%#v"} {
					if shown := fmt.Sprintf(verb, err); strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprint(id)) {
						t.Errorf("%s: the error shows a value in %s: %s", name, verb, shown)
					}
				}
			}
		}
	})
}

// chain goes through err and all that it wraps.
func chain(err error) func(yield func(error) bool) {
	return func(yield func(error) bool) {
		if err == nil || !yield(err) {
			return
		}
		var wrapped []error
		switch err := err.(type) { //nolint:errorlint // It goes through the chain itself.
		case interface{ Unwrap() error }:
			wrapped = []error{err.Unwrap()}
		case interface{ Unwrap() []error }:
			wrapped = err.Unwrap()
		}
		for _, err := range wrapped {
			for err := range chain(err) {
				if !yield(err) {
					return
				}
			}
		}
	}
}

// TestErrors_OfRows shows the errors of constraints and validators.
func TestErrors_OfRows(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var s seen
		s.errs(t, constraintErrors(ctx, p))
		s.errs(t, validatorErrors(ctx, p))
		s.errs(t, builderErrors(ctx, p))
		s.wantNone(t, p.secrets...)
		s.wantShown(t, "validator failed", "not found", "not singular", "not loaded", "cannot be audited", "invalid field")
		for _, kind := range []error{models.ErrUnique, models.ErrForeignKey, models.ErrCheck, models.ErrNotNull} {
			s.wantShown(t, kind.Error())
		}
	})
}

func constraintErrors(ctx context.Context, p *planted) map[string]error {
	taken := func() *ent.UserCreate { return newUser(p.Store).SetEmail(canaryAddress).SetHashedPassword(canaryHash) }
	const insert = "INSERT INTO users (public_id, email, hashed_password, name) VALUES ($1, $2, $3, $4)"
	const noOwner = "INSERT INTO files (public_id, filename, content_type, size, user_id) VALUES ($1, $2, $3, 0, 424242)"
	return map[string]error{
		"unique, create":             taken().Exec(ctx),
		"unique, in bulk":            p.User.CreateBulk(newUser(p.Store), taken()).Exec(ctx),
		"unique, update":             p.plain.Update().SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx),
		"unique, bulk update":        p.User.Update().SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx),
		"unique, public id":          taken().SetEmail("new@example.org").SetPublicID(p.victim.PublicID).Exec(ctx),
		"unique, jti":                newToken(p.Store, canaryJti, p.victim.CreatedAt).Exec(ctx),
		"unique, nonce":              newReset(p.Store, canaryAddress, canaryNonce).Exec(ctx),
		"unique, raw":                p.raw(ctx, insert, uuid.NewString(), canaryAddress, canaryHash, canaryName),
		"foreign key, create":        p.File.Create().SetFilename(canaryFile).SetContentType(canaryFile).SetUserID(424242).Exec(ctx),
		"foreign key, update":        p.file.Update().SetFilename(canaryFile).SetUserID(424242).Exec(ctx),
		"foreign key, raw":           p.raw(ctx, noOwner, uuid.NewString(), canaryFile, canaryFile),
		"check, update":              p.file.Update().SetFilename(canaryFile).AddSize(-424242).Exec(ctx),
		"check, raw":                 p.raw(ctx, insert, uuid.NewString(), canaryAddress+"2", "", canaryName),
		"check of an object, raw":    p.raw(ctx, "UPDATE users SET preferences = $1", `["`+canaryPreference+`"]`),
		"not null, raw":              p.raw(ctx, insert, uuid.NewString(), canaryAddress+"2", nil, canaryName),
		"not null, every column raw": p.raw(ctx, "UPDATE users SET created_at = NULL"),
	}
}

// validatorErrors gives every column of text a value that holds a canary and is refused.
func validatorErrors(ctx context.Context, p *planted) map[string]error {
	errs := make(map[string]error)
	builders := map[string]func() (m ent.Mutation, exec func(context.Context) error){
		"create user": func() (ent.Mutation, func(context.Context) error) { b := newUser(p.Store); return b.Mutation(), b.Exec },
		"update user": func() (ent.Mutation, func(context.Context) error) {
			b := p.victim.Update()
			return b.Mutation(), b.Exec
		},
		"update users": func() (ent.Mutation, func(context.Context) error) { b := p.User.Update(); return b.Mutation(), b.Exec },
		"create file": func() (ent.Mutation, func(context.Context) error) {
			b := newFile(p.Store, p.victim)
			return b.Mutation(), b.Exec
		},
		"update file": func() (ent.Mutation, func(context.Context) error) { b := p.file.Update(); return b.Mutation(), b.Exec },
		"create token": func() (ent.Mutation, func(context.Context) error) {
			b := newToken(p.Store, "jti", p.victim.CreatedAt)
			return b.Mutation(), b.Exec
		},
		"create reset": func() (ent.Mutation, func(context.Context) error) {
			b := newReset(p.Store, "a@example.org", "nonce")
			return b.Mutation(), b.Exec
		},
		"create audit": func() (ent.Mutation, func(context.Context) error) {
			b := newAudit(p.Store)
			return b.Mutation(), b.Exec
		},
	}
	columns := map[string][]string{
		"user": {"email", "hashed_password", "name", "bio", "avatar_url"}, "users": {"email", "hashed_password", "name"},
		"file": {"filename", "content_type"}, "token": {"jti"}, "reset": {"email", "nonce"}, "audit": {"actor", "action", "entity"},
	}
	all := strings.Join(p.secrets, " ")
	for name, builder := range builders {
		_, entity, _ := strings.Cut(name, " ")
		for _, column := range columns[entity] {
			for kind, value := range map[string]any{
				"too long": strings.Repeat(all, 20), "NUL": canaryHash + "\x00", "UTF-8": canaryHash + "\xff", "type": []string{canaryHash},
			} {
				m, exec := builder()
				err := m.SetField(column, value)
				if err == nil {
					err = exec(ctx)
				}
				errs[name+", "+column+", "+kind] = err
			}
		}
	}
	errs["empty hash of another's address"] = newUser(p.Store).SetEmail(canaryAddress).SetHashedPassword("").Exec(ctx)
	errs["empty address, with a hash"] = newUser(p.Store).SetEmail("").SetHashedPassword(canaryHash).Exec(ctx)
	errs["no hash"] = p.User.Create().SetEmail(canaryAddress).SetName(canaryName).Exec(ctx)
	errs["NUL in an object"] = p.victim.Update().SetPreferences(map[string]any{canaryPreference: canaryHash + "\x00"}).Exec(ctx)
	errs["no JSON"] = p.victim.Update().SetPreferences(map[string]any{canaryPreference: func() {}}).Exec(ctx)
	return errs
}

// builderErrors are those of builders that are used wrongly, and of rows that are not as they are asked for.
func builderErrors(ctx context.Context, p *planted) map[string]error {
	byCanary := func() *ent.UserQuery {
		return p.User.Query().Where(user.Or(user.Email(canaryAddress), user.Bio(canaryBio)))
	}
	_, selected := byCanary().Select("nosuch").Strings(ctx)
	_, grouped := byCanary().GroupBy("nosuch").Strings(ctx)
	_, ordered := byCanary().Order(ent.Asc("nosuch")).All(ctx)
	_, aggregated := byCanary().Aggregate(ent.Sum("nosuch")).Int(ctx)
	_, none := p.User.Query().Where(user.Email(canaryAddress), user.Name("nobody")).Only(ctx)
	_, first := p.User.Query().Where(user.Email(canaryHash)).FirstID(ctx)
	_, many := p.User.Query().Where(user.HashedPassword(canaryHash)).Only(ctx)
	_, edge := p.file.Edges.UserOrErr()
	_, sliced := p.User.MapCreateBulk(canaryAddress, func(*ent.UserCreate, int) {}).Save(ctx)
	create := newUser(p.Store).SetEmail(canaryAddress)
	_, old := create.Mutation().OldEmail(ctx)
	_, oldOfMissing := p.User.UpdateOneID(424242).SetEmail(canaryAddress).Mutation().OldEmail(ctx)
	upserted := newUser(p.Store).SetEmail(canaryAddress).SetHashedPassword(canaryHash)
	upsertedFile := newFile(p.Store, p.victim).SetFilename(canaryFile).SetPublicID(p.file.PublicID)
	foreign, err := ent.Open("sqlite3", ":memory:")
	if err != nil {
		return map[string]error{"a driver of ent's": err}
	}
	defer foreign.Close()
	return map[string]error{
		"invalid field, Select":    selected,
		"invalid field, GroupBy":   grouped,
		"invalid field, Order":     ordered,
		"invalid field, Aggregate": aggregated,
		"not found, Only":          none,
		"not found, FirstID":       first,
		"not found, UpdateOneID":   p.User.UpdateOneID(424242).SetEmail(canaryAddress).SetHashedPassword(canaryHash).Exec(ctx),
		"not found, DeleteOneID":   p.User.DeleteOneID(424242).Exec(ctx),
		"not found, SoftDelete":    p.SoftDeleteUser(ctx, 424242),
		"not found, Restore":       p.RestoreUser(ctx, p.victim.ID),
		"not singular":             many,
		"not loaded":               edge,
		"no slice":                 sliced,
		"old of a creation":        old,
		"old of a missing row":     oldOfMissing,
		"unknown field":            create.Mutation().SetField("nosuch", canaryHash),
		"unknown number":           create.Mutation().AddField("nosuch", canaryHash),
		"upsert, wrong target":     upserted.OnConflictColumns(user.FieldName).UpdateNewValues().Exec(ctx),
		"upsert, bulk":             p.User.CreateBulk(upserted).OnConflictColumns(user.FieldName).UpdateNewValues().Exec(ctx),
		"upsert, file":             upsertedFile.OnConflictColumns(file.FieldPublicID).UpdateNewValues().Exec(ctx),
		"not audited, edge":        p.victim.Update().SetName(canaryName).AddFiles(p.ownFile).Exec(ctx),
		"not audited, driver": foreign.User.Create().SetEmail(canaryAddress).SetHashedPassword(canaryHash).
			Exec(ctx),
	}
}

// TestErrors_OfStatements shows the errors of SQL that is not the client's, and of scans.
func TestErrors_OfStatements(t *testing.T) {
	t.Parallel()
	eachPlanted(t, func(t *testing.T, ctx context.Context, p *planted) {
		var s seen
		s.errs(t, scanErrors(ctx, p))
		for name, query := range map[string]string{
			"no such column":   "SELECT nosuch FROM users WHERE $1 = email",
			"no such table":    "SELECT 1 FROM nosuch WHERE $1 = email",
			"no such function": "SELECT nosuch(email, $1) FROM users",
			"syntax":           "SELEC email FROM users WHERE email = $1",
			"syntax at an end": "SELECT email FROM users WHERE email = $1 AND (",
			"no number":        "UPDATE files SET size = $1",
			"no time":          "UPDATE users SET created_at = $1",
			"no boolean":       "UPDATE users SET is_admin = $1",
			"no UUID":          "UPDATE users SET public_id = $1",
			"no JSON":          "UPDATE users SET preferences = $1",
			"NUL":              "UPDATE users SET name = $1 || CAST($2 AS text)",
		} {
			args := []any{canaryHash}
			if name == "NUL" {
				args = append(args, canaryName+"\x00")
			}
			_, err := p.ExecContext(ctx, query, args...)
			s.err(t, name+", Exec", err)
			s.err(t, name+", Query", p.raw(ctx, query, args...))
			s.err(t, name+", in a transaction", p.InTx(ctx, func(ctx context.Context) error { return p.raw(ctx, query, args...) }))
		}
		s.err(t, "too few arguments", p.raw(ctx, "SELECT $1, $2", canaryHash))
		s.err(t, "an argument of no type", p.raw(ctx, "SELECT $1", struct{ Hash string }{canaryHash}))
		s.errs(t, rowErrors(ctx, p))
		s.wantNone(t, append(p.secrets, "canary-address")...) // of which a schema is the part before the dot
	})
}

// scanErrors read text into numbers.
func scanErrors(ctx context.Context, p *planted) map[string]error {
	victim := func() *ent.UserQuery { return p.User.Query().Where(user.ID(p.victim.ID)) }
	var into []struct {
		Email int `json:"email"`
	}
	_, ints := victim().Select(user.FieldEmail).Ints(ctx)
	_, aggregate := victim().Aggregate(ent.Max(user.FieldHashedPassword)).Int(ctx)
	errs := map[string]error{
		"scan by Ints":         ints,
		"scan by Select.Scan":  victim().Select(user.FieldEmail).Scan(ctx, &into),
		"scan by GroupBy.Scan": victim().GroupBy(user.FieldEmail).Scan(ctx, &into),
		"scan by Aggregate":    aggregate,
	}
	rows, err := p.QueryContext(ctx, "SELECT email FROM users WHERE id = $1", p.victim.ID)
	if err == nil {
		defer rows.Close()
		var n int
		for rows.Next() {
			errs["scan by *sql.Rows"] = rows.Scan(&n)
		}
		err = rows.Err()
	}
	if err != nil {
		errs["a query that is right"] = err
	}
	return errs
}

// rowErrors are made while a statement runs, of what is in a row.
func rowErrors(ctx context.Context, p *planted) map[string]error {
	if p.Dialect() == "sqlite3" {
		return map[string]error{
			"JSON path of a row": p.raw(ctx, "SELECT json_extract('{}', email) FROM users WHERE id = $1", p.victim.ID),
			"JSON of a row":      p.raw(ctx, "SELECT json_extract(email, '$') FROM users"),
			"escape of a row":    p.raw(ctx, "SELECT 1 FROM users WHERE email LIKE 'x' ESCAPE email"),
			"trigger": p.undone(ctx, func(ctx context.Context) error {
				return cmp.Or(p.raw(ctx, "CREATE TRIGGER refusal BEFORE UPDATE ON users BEGIN SELECT RAISE(ABORT, OLD.hashed_password || OLD.email); END"),
					p.victim.Update().SetBio("new").Exec(ctx))
			}),
		}
	}
	errs := make(map[string]error)
	for _, code := range []string{"08000", "0A000", "25001", "2F000", "38000", "3F000", "42501", "53100", "54000", "55000", "58000", "XX000"} {
		errs["raise with "+code] = p.raw(ctx, "DO $$ BEGIN RAISE '%', (SELECT hashed_password FROM users LIMIT 1) USING ERRCODE = '"+code+"'; END $$")
	}
	for code, option := range map[string]string{"23505": "CONSTRAINT", "23503": "CONSTRAINT", "23514": "CONSTRAINT", "23502": "COLUMN"} {
		errs["raise of a "+option+" with "+code] = p.raw(ctx, "DO $$ DECLARE hash text := (SELECT hashed_password FROM users LIMIT 1); BEGIN RAISE EXCEPTION USING ERRCODE = '"+code+"', "+option+" = hash; END $$")
	}
	maps.Copy(errs, map[string]error{
		"schema of a row":        p.raw(ctx, "SELECT CAST(email AS regclass) FROM users WHERE id = $1", p.victim.ID),
		"schema of a row, XML":   p.raw(ctx, "SELECT schema_to_xml(email, true, false, '') FROM users WHERE id = $1", p.victim.ID),
		"cursor of a row":        p.raw(ctx, "SELECT cursor_to_xml(CAST(email AS refcursor), 1, true, false, '') FROM users WHERE id = $1", p.victim.ID),
		"file of a row":          p.raw(ctx, "SELECT pg_read_file(email) FROM users WHERE id = $1", p.victim.ID),
		"number of a row":        p.raw(ctx, "SELECT CAST(email AS int) FROM users"),
		"JSON of a row":          p.raw(ctx, "SELECT CAST(email AS jsonb) FROM users"),
		"time zone of a row":     p.raw(ctx, "SELECT now() AT TIME ZONE email FROM users"),
		"pattern of a row":       p.raw(ctx, "SELECT 1 FROM users WHERE 'x' ~ (email || '(')"),
		"division by a row":      p.raw(ctx, "SELECT 1 / (length(email) - length(email)) FROM users"),
		"regclass of a row":      p.raw(ctx, "SELECT CAST(hashed_password AS regclass) FROM users WHERE id = $1", p.victim.ID),
		"setting of a row":       p.raw(ctx, "SELECT current_setting(email) FROM users WHERE id = $1", p.victim.ID),
		"tsquery of an argument": p.raw(ctx, "SELECT to_tsquery($1)", canaryName+" & "),
		"dynamic statement":      p.raw(ctx, "DO $$ BEGIN EXECUTE (SELECT 'SELECT ' || quote_ident(hashed_password) FROM users LIMIT 1); END $$"),
		"raise":                  p.raw(ctx, "DO $$ BEGIN RAISE '%', (SELECT hashed_password FROM users LIMIT 1); END $$"),
		"raise of class 23":      p.raw(ctx, "DO $$ BEGIN RAISE '%', (SELECT hashed_password FROM users LIMIT 1) USING ERRCODE = '23000'; END $$"),
		"raise of class 22":      p.raw(ctx, "DO $$ BEGIN RAISE '%', (SELECT hashed_password FROM users LIMIT 1) USING ERRCODE = '22000', DETAIL = 'canary-hash-0f3a'; END $$"),
		"raise with an own code": p.raw(ctx, "DO $$ BEGIN RAISE '%', (SELECT hashed_password FROM users LIMIT 1) USING ERRCODE = 'RP001'; END $$"),
	})
	return errs
}
