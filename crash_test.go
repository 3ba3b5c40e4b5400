package models_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/auditlog"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/password"
)

// A deed of the writer is one operation: one change, or several in one InTx. The writer says before it
// begins what it is going to do, so that one that was killed in it can be judged, and afterwards that
// it is done.
type deed struct {
	// Actor is a name of the operation's own, by which its rows are found in the trail. It is also the
	// hash of every password that it sets, as the trail does not show that.
	Actor   string        `json:"actor"`
	Changes []wantedRow   `json:"changes"` // a row in the trail each
	Files   []createdFile `json:"files"`   // whose creation has none
}

type wantedRow struct {
	Entity string `json:"entity"`
	ID     int    `json:"id"` // 0 until it is created
	Action string `json:"action"`
	Column string `json:"column"`
	Value  any    `json:"value"` // the new one
}

type createdFile struct {
	ID   int    `json:"id"` // 0 until it is created
	Name string `json:"name"`
}

const writerURL = "REVIEWPOINT_TEST_WRITER_URL"

// TestAuditTrailWriter is a process of its own that changes users and files until it is killed.
func TestAuditTrailWriter(t *testing.T) {
	t.Parallel()
	url := os.Getenv(writerURL)
	if url == "" {
		t.Skip("it is a process of TestAuditTrail_Killed")
	}
	s := open(t, url)
	for {
		ctx := models.AsSystem(t.Context(), "writer "+uuid.NewString())
		w := planDeed(t, ctx, s)
		say(t, "plan", w.deed)
		check(t, w.run(ctx))
		say(t, "done", w.deed)
	}
}

// say writes a line at once. When the test has gone, nobody reads it, which ends the writer.
func say(t *testing.T, word string, op deed) {
	t.Helper()
	line := must(json.Marshal(op))(t)
	must(fmt.Fprintf(os.Stdout, "%s %s\n", word, line))(t)
}

// writer plans an operation, and carries it out.
type writer struct {
	deed

	store *models.Store
	free  []*ent.User // whom no step is about yet, so that each can be planned by itself
	steps []func(ctx context.Context) error
}

func planDeed(t *testing.T, ctx context.Context, s *models.Store) *writer {
	t.Helper()
	const enough = 30
	viewer, _ := models.ViewerFrom(ctx)
	w := &writer{deed: deed{Actor: viewer.String()}, store: s}
	w.free = must(s.User.Query().WithFiles().All(models.IncludeDeleted(ctx)))(t)
	rand.Shuffle(len(w.free), func(i, j int) { w.free[i], w.free[j] = w.free[j], w.free[i] })
	kinds := []func(){
		w.createUser, w.updateUser, w.updateUsers, w.setPassword, w.softDelete, w.restore, w.hardDelete,
		w.createFiles, w.createFiles, w.updateFile, w.deleteFile, w.deleteFiles, w.softDeletes, w.importUsers, w.filesByMethod,
	}
	if rand.N(12) == 0 {
		w.purge()
		if len(w.steps) > 0 { // In InTx it would take whom the other steps delete, too.
			return w
		}
	}
	if len(w.free) > enough {
		w.hardDelete()
	}
	for range 1 + rand.N(2)*(1+rand.N(3)) {
		kinds[rand.N(len(kinds))]()
	}
	if len(w.steps) == 0 { // there was nothing to do it with
		w.createUser()
	}
	return w
}

func (w *writer) run(ctx context.Context) error {
	if len(w.steps) == 1 {
		return w.steps[0](ctx)
	}
	return w.store.InTx(ctx, func(ctx context.Context) error {
		for _, step := range w.steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *writer) step(fn func(ctx context.Context) error) { w.steps = append(w.steps, fn) }

// want announces a row of the trail, and returns its place.
func (w *writer) want(entity string, id int, action, column string, value any) int {
	w.Changes = append(w.Changes, wantedRow{entity, id, action, column, value})
	return len(w.Changes) - 1
}

// take returns a user for a step, or nil.
func (w *writer) take(fits func(*ent.User) bool) *ent.User {
	i := slices.IndexFunc(w.free, fits)
	if i < 0 {
		return nil
	}
	u := w.free[i]
	w.free = slices.Delete(w.free, i, i+1)
	return u
}

func anybody(*ent.User) bool       { return true }
func isAlive(u *ent.User) bool     { return !u.IsDeleted }
func isDeleted(u *ent.User) bool   { return u.IsDeleted }
func hasFiles(u *ent.User) bool    { return !u.IsDeleted && len(u.Edges.Files) > 0 }
func hasFewFiles(u *ent.User) bool { return !u.IsDeleted && len(u.Edges.Files) < 5 }

func (w *writer) createUser() {
	email := uuid.NewString() + "@example.org"
	row := w.want(user.Label, 0, audit.Create, user.FieldEmail, email)
	w.step(func(ctx context.Context) error {
		u, err := w.store.User.Create().SetEmail(email).SetHashedPassword(w.Actor).Save(ctx)
		if err != nil {
			return err
		}
		w.Changes[row].ID = u.ID
		return nil
	})
}

func (w *writer) updateUser() {
	u, name := w.take(isAlive), uuid.NewString()
	if u == nil {
		return
	}
	w.want(user.Label, u.ID, audit.Update, user.FieldName, name)
	w.step(w.store.User.UpdateOneID(u.ID).SetName(name).SetBio("the bio of " + name).Exec)
}

func (w *writer) updateUsers() {
	var ids []int
	bio := uuid.NewString()
	for u := w.take(isAlive); u != nil && len(ids) < 4; u = w.take(isAlive) {
		w.want(user.Label, u.ID, audit.Update, user.FieldBio, bio)
		ids = append(ids, u.ID)
	}
	if len(ids) > 0 {
		w.step(w.store.User.Update().Where(user.IDIn(ids...)).SetBio(bio).SetIsActive(rand.N(2) == 0).Exec)
	}
}

func (w *writer) setPassword() {
	if u := w.take(isAlive); u != nil {
		w.want(user.Label, u.ID, audit.Update, user.FieldHashedPassword, audit.Redacted)
		w.step(w.store.User.UpdateOneID(u.ID).SetHashedPassword(w.Actor).Exec)
	}
}

func (w *writer) softDelete() {
	if u := w.take(isAlive); u != nil {
		w.want(user.Label, u.ID, audit.SoftDelete, user.FieldIsDeleted, true)
		w.step(w.store.User.DeleteOneID(u.ID).Exec)
	}
}

func (w *writer) restore() {
	if u := w.take(isDeleted); u != nil {
		w.want(user.Label, u.ID, audit.Restore, user.FieldIsDeleted, false)
		w.step(func(ctx context.Context) error { return w.store.RestoreUser(ctx, u.ID) })
	}
}

func (w *writer) hardDelete() {
	u := w.take(anybody)
	if u == nil {
		return
	}
	w.want(user.Label, u.ID, audit.Delete, user.FieldEmail, nil)
	for _, f := range u.Edges.Files {
		w.want(file.Label, f.ID, audit.Delete, file.FieldFilename, nil)
	}
	w.step(func(ctx context.Context) error {
		return w.store.User.DeleteOneID(u.ID).Exec(models.HardDelete(models.IncludeDeleted(ctx)))
	})
}

func (w *writer) createFiles() {
	u := w.take(hasFewFiles)
	if u == nil {
		return
	}
	first := len(w.Files)
	var builders []*ent.FileCreate
	for range 1 + rand.N(3) {
		name := uuid.NewString()
		w.Files = append(w.Files, createdFile{Name: name})
		builders = append(builders, newFile(w.store, u).SetFilename(name))
	}
	w.step(func(ctx context.Context) error {
		files, err := w.store.File.CreateBulk(builders...).Save(ctx)
		for i, f := range files {
			w.Files[first+i].ID = f.ID
		}
		return err
	})
}

func (w *writer) updateFile() {
	u, name := w.take(hasFiles), uuid.NewString()
	if u == nil {
		return
	}
	id := u.Edges.Files[0].ID
	w.want(file.Label, id, audit.Update, file.FieldFilename, name)
	w.step(w.store.File.UpdateOneID(id).SetFilename(name).SetSize(rand.N[int64](1 << 40)).Exec)
}

func (w *writer) deleteFile() {
	if u := w.take(hasFiles); u != nil {
		id := u.Edges.Files[0].ID
		w.want(file.Label, id, audit.Delete, file.FieldFilename, nil)
		w.step(w.store.File.DeleteOneID(id).Exec)
	}
}

func (w *writer) deleteFiles() {
	u := w.take(hasFiles)
	if u == nil {
		return
	}
	for _, f := range u.Edges.Files {
		w.want(file.Label, f.ID, audit.Delete, file.FieldFilename, nil)
	}
	w.step(func(ctx context.Context) error {
		_, err := w.store.File.Delete().Where(file.UserID(u.ID)).Exec(ctx)
		return err
	})
}

func (w *writer) softDeletes() {
	var ids []int
	for u := w.take(isAlive); u != nil && len(ids) < 3; u = w.take(isAlive) {
		w.want(user.Label, u.ID, audit.SoftDelete, user.FieldIsDeleted, true)
		ids = append(ids, u.ID)
	}
	if len(ids) == 0 {
		return
	}
	w.step(func(ctx context.Context) error {
		_, err := w.store.User.Delete().Where(user.IDIn(ids...)).Exec(ctx)
		return err
	})
}

// importUsers makes an account and changes one, in one batch.
func (w *writer) importUsers() {
	email, name := uuid.NewString()+"@example.org", uuid.NewString()
	row := w.want(user.Label, 0, audit.Create, user.FieldEmail, email)
	rows := "email,name\n" + email + "," + name + "\n"
	if u := w.take(isAlive); u != nil {
		w.want(user.Label, u.ID, audit.Update, user.FieldName, name)
		rows += u.Email + "," + name + "\n"
	}
	w.step(func(ctx context.Context) error {
		_, err := w.store.ImportUsers(ctx, strings.NewReader(rows), models.ImportOptions{OnConflict: models.ConflictUpdate})
		if err != nil {
			return err
		}
		w.Changes[row].ID, err = w.store.User.Query().Where(user.Email(email)).OnlyID(ctx)
		return err
	})
}

// filesByMethod deletes the files of an account, and makes one.
func (w *writer) filesByMethod() {
	u, name := w.take(hasFiles), uuid.NewString()
	if u == nil {
		return
	}
	var names []string
	for _, f := range u.Edges.Files {
		w.want(file.Label, f.ID, audit.Delete, file.FieldFilename, nil)
		names = append(names, f.Filename)
	}
	first := len(w.Files)
	w.Files = append(w.Files, createdFile{Name: name})
	w.step(func(ctx context.Context) error {
		return w.store.InTx(ctx, func(ctx context.Context) error {
			files, err := w.store.CreateFiles(ctx, u.ID, []models.NewFile{{Filename: name, ContentType: "text/plain"}})
			if err != nil {
				return err
			}
			w.Files[first].ID = files[0].ID
			_, _, err = w.store.DeleteFiles(ctx, u.ID, names)
			return err
		})
	})
}

// purge removes everybody who is deleted, which is one batch.
func (w *writer) purge() {
	for u := w.take(isDeleted); u != nil; u = w.take(isDeleted) {
		w.want(user.Label, u.ID, audit.Delete, user.FieldEmail, nil)
		for _, f := range u.Edges.Files {
			w.want(file.Label, f.ID, audit.Delete, file.FieldFilename, nil)
		}
	}
	if len(w.Changes) > 0 {
		w.step(func(ctx context.Context) error {
			_, err := w.store.PurgeExpired(ctx, models.PurgeOptions{DeletedUsers: 1, Pause: -1})
			return err
		})
	}
}

// TestAuditTrail_Killed kills a process while it changes users and files, again and again. After each
// kill every change has its row in the trail, and every row its change.
func TestAuditTrail_Killed(t *testing.T) {
	t.Parallel()
	kills := 25
	if os.Getenv("REVIEWPOINT_TEST_LONG") == "1" {
		kills = 200
	}
	eachURL(t, func(t *testing.T, url string) {
		c := &crashes{url: url}
		t.Run("migrate", func(t *testing.T) { must(open(t, url).Migrate(t.Context()))(t) })
		for round := range kills {
			// What one kill spoiled would be found after each of the others too.
			if !t.Run(fmt.Sprint(round), c.round) {
				break
			}
		}
		t.Run("all at once", func(t *testing.T) {
			s := open(t, url)
			(&trail{}).verify(t, models.AsSystem(t.Context(), "check"), s, c.operations)
		})
		c.log(t)
	})
}

// crashes is what one database has been through.
type crashes struct {
	url        string
	trail      trail
	operations []deed // which are in the database
	killed     int    // writers, while they lived
	undone     int    // operations of theirs
	kept       int    // operations that were whole, though the writer did not come to say so
}

func (c *crashes) log(t *testing.T) {
	t.Helper()
	changes := 0
	for _, op := range c.operations {
		changes += len(op.Changes)
	}
	t.Logf("%d live processes were killed: %d before or in an operation that left nothing, %d after its commit, %d between two; %d operations with %d changes are kept",
		c.killed, c.undone, c.kept, c.killed-c.undone-c.kept, len(c.operations), changes)
}

// round kills one writer, and looks at what it left.
func (c *crashes) round(t *testing.T) {
	done, begun := c.kill(t)
	ctx, s := models.AsSystem(t.Context(), "check"), open(t, c.url, models.WithMaxConns(1))
	settle(t, ctx, s)
	if begun != nil {
		if left(t, ctx, s, begun) {
			done = append(done, *begun)
			c.kept++
		} else {
			c.undone++
		}
	}
	c.operations = append(c.operations, done...)
	c.trail.verify(t, ctx, s, done)
	sound(t, ctx, s)
}

// kill starts a writer and kills it at some moment after its first operation. It returns what the
// writer said it did, and what it said it was about to do.
func (c *crashes) kill(t *testing.T) (done []deed, begun *deed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.run=^TestAuditTrailWriter$")
	cmd.Env, cmd.Stderr = append(os.Environ(), writerURL+"="+c.url), os.Stderr
	output := bufio.NewReader(must(cmd.StdoutPipe())(t))
	check(t, cmd.Start())
	var rest strings.Builder
	for last := 2 + rand.N(24); ; last-- {
		line, err := output.ReadString('\n')
		if err != nil {
			break // The line is not whole, so the writer did not go on after it.
		}
		var op deed
		word, text, _ := strings.Cut(line, " ")
		switch word {
		case "plan":
			check(t, json.Unmarshal([]byte(text), &op))
			begun = &op
		case "done":
			check(t, json.Unmarshal([]byte(text), &op))
			done, begun = append(done, op), nil
		default:
			rest.WriteString(line)
		}
		if last == 1 {
			// The writer goes on meanwhile, for a shorter time or a longer one than an operation takes.
			for range rand.N(1 << 16) {
				runtime.Gosched()
			}
			cmd.Process.Kill()
		}
	}
	wantKilled(t, cmd, &rest)
	c.killed++
	return done, begun
}

// wantKilled waits for a process, which must have been killed.
func wantKilled(t *testing.T, cmd *exec.Cmd, output fmt.Stringer) {
	t.Helper()
	err := cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("the process ended by itself: %v\n%s", err, output)
	}
}

// settle returns when nobody else is connected. The server of PostgreSQL carries out what it was sent
// before it finds that the writer has gone. SQLite's locks go with the process.
func settle(t *testing.T, ctx context.Context, s *models.Store) {
	t.Helper()
	if s.Dialect() != "postgres" {
		return
	}
	for column[int](t, ctx, s, `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`)[0] > 0 {
		runtime.Gosched()
	}
}

// left reports whether anything of an operation is in the database, and learns the ids of what it created.
func left(t *testing.T, ctx context.Context, s *models.Store, op *deed) bool {
	t.Helper()
	rows := must(s.AuditLog.Query().Where(auditlog.Actor(op.Actor)).All(ctx))(t)
	found := len(rows) > 0
	for i, change := range op.Changes {
		for _, row := range rows { // now, while no purge has redacted the values by which they are told apart
			if pair, ok := row.Changes[change.Column].([]any); ok && change.ID == 0 && row.Action == change.Action && pair[1] == change.Value {
				op.Changes[i].ID = row.EntityID
			}
		}
	}
	for i, f := range op.Files {
		for _, id := range must(s.File.Query().Where(file.Filename(f.Name)).IDs(ctx))(t) {
			op.Files[i].ID, found = id, true
		}
	}
	return found
}

// sound asks the database itself.
func sound(t *testing.T, ctx context.Context, s *models.Store) {
	t.Helper()
	for query, want := range map[string][]string{
		"SELECT f.filename FROM files f LEFT JOIN users u ON u.id = f.user_id WHERE u.id IS NULL": nil,
		"SELECT integrity_check FROM pragma_integrity_check":                                      {"ok"},
		`SELECT "table" FROM pragma_foreign_key_check`:                                            nil,
	} {
		if s.Dialect() == "postgres" && strings.Contains(query, "pragma_") {
			continue
		}
		if got := column[string](t, ctx, s, query); !slices.Equal(got, want) {
			t.Errorf("%s answers %q, want %q", query, got, want)
		}
	}
}

// trail is what the rows of audit_logs add up to.
type trail struct {
	last int // the id of the row up to which it has been read
	rows map[rowKey]map[string]any
}

type rowKey struct {
	entity string
	id     int
}

// verify reads the trail on. What is new in it is what these operations did, and all together makes
// the rows that are there.
func (tr *trail) verify(t *testing.T, ctx context.Context, s *models.Store, ops []deed) {
	t.Helper()
	if tr.rows == nil {
		tr.rows = make(map[rowKey]map[string]any)
	}
	logs := must(s.AuditLog.Query().Where(auditlog.IDGT(tr.last)).Order(auditlog.ByID()).All(ctx))(t)
	byActor := make(map[string][]*ent.AuditLog)
	for _, row := range logs {
		byActor[row.Actor] = append(byActor[row.Actor], row)
	}
	for _, op := range ops {
		wantWhole(t, op, byActor[op.Actor])
		delete(byActor, op.Actor)
		for _, f := range op.Files {
			tr.rows[rowKey{file.Label, f.ID}] = map[string]any{file.FieldFilename: f.Name}
		}
	}
	for actor, rows := range byActor {
		t.Errorf("%s has left %d rows, and was neither done nor the last", actor, len(rows))
	}
	for _, row := range logs {
		tr.add(t, row)
		tr.last = row.ID
	}
	tr.compare(t, ctx, s)
}

// wantWhole checks that an operation has the rows that it should have, and each once.
func wantWhole(t *testing.T, op deed, rows []*ent.AuditLog) {
	t.Helper()
	if len(rows) != len(op.Changes) {
		t.Errorf("%s has %d rows, want %d: %+v", op.Actor, len(rows), len(op.Changes), op.Changes)
	}
	for _, want := range op.Changes {
		n := 0
		for _, row := range rows {
			pair, ok := row.Changes[want.Column].([]any)
			if ok && row.Entity == want.Entity && (row.EntityID == want.ID || want.ID == 0) && row.Action == want.Action && (pair[1] == want.Value || pair[1] == audit.Redacted) { // as of who has been purged
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d rows of %+v, want 1", op.Actor, n, want)
		}
	}
	for _, f := range op.Files {
		if f.ID == 0 {
			t.Errorf("%s has not created %s, though it did the rest", op.Actor, f.Name)
		}
	}
}

// add puts one more row to those before, on which it must follow.
func (tr *trail) add(t *testing.T, row *ent.AuditLog) {
	t.Helper()
	key := rowKey{row.Entity, row.EntityID}
	state, known := tr.rows[key]
	if creates := row.Action == audit.Create; creates == known || !creates && state == nil {
		t.Errorf("%s %+v by %s, which is %v before", row.Action, key, row.Actor, state)
		return
	}
	if !known {
		state = make(map[string]any)
	}
	for name, pair := range row.Changes {
		was, is := pair.([]any)[0], pair.([]any)[1]
		if name == user.FieldHashedPassword {
			is = row.Actor
		} else if before, known := state[name]; known && !reflect.DeepEqual(was, before) && was != audit.Redacted {
			t.Errorf("%s %+v by %s: %s was %v, and %v before", row.Action, key, row.Actor, name, was, before)
		}
		state[name] = is
	}
	if row.Action == audit.Delete {
		state = nil
	}
	tr.rows[key] = state
}

// compare checks that the rows that are there are those of the trail.
func (tr *trail) compare(t *testing.T, ctx context.Context, s *models.Store) {
	t.Helper()
	there := make(map[rowKey]map[string]any)
	for _, u := range must(s.User.Query().All(models.IncludeDeleted(ctx)))(t) {
		columns := asJSON(t, u.ToMap())
		columns[user.FieldHashedPassword] = u.HashedPassword
		if u.HashedPassword == password.None { // Imports set no other.
			columns[user.FieldHashedPassword] = tr.rows[rowKey{user.Label, u.ID}][user.FieldHashedPassword]
		}
		there[rowKey{user.Label, u.ID}] = columns
	}
	for _, f := range must(s.File.Query().All(ctx))(t) {
		there[rowKey{file.Label, f.ID}] = asJSON(t, f.ToMap())
	}
	for key, state := range tr.rows {
		columns := there[key]
		delete(there, key)
		if (state == nil) != (columns == nil) {
			t.Errorf("%+v is %v, and by the trail %v", key, columns, state)
			continue
		}
		compareColumns(t, key, columns, state)
	}
	for key, columns := range there {
		t.Errorf("%+v is %v, and nobody created it", key, columns)
	}
}

// compareColumns leaves out what the trail does. Of a user it knows all the rest, since it holds the
// creation; of a file what has changed.
func compareColumns(t *testing.T, key rowKey, columns, state map[string]any) {
	t.Helper()
	for name, is := range columns {
		want, known := state[name]
		unaudited := slices.Contains([]string{user.FieldID, user.FieldUpdatedAt, user.FieldLastLoginAt}, name)
		if unaudited || !known && key.entity == file.Label {
			continue
		}
		if !reflect.DeepEqual(is, want) {
			t.Errorf("%s of %+v is %v, and by the trail %v", name, key, is, want)
		}
	}
}

// asJSON returns columns as the trail has them.
func asJSON(t *testing.T, columns map[string]any) (decoded map[string]any) {
	t.Helper()
	check(t, json.Unmarshal(must(json.Marshal(columns))(t), &decoded))
	return decoded
}
