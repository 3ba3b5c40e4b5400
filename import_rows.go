package models

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
	"github.com/reviewpoint/models/ent/user"
	"github.com/reviewpoint/models/internal/audit"
	"github.com/reviewpoint/models/internal/jsonobject"
	"github.com/reviewpoint/models/internal/policy"
	"github.com/reviewpoint/models/internal/row"
)

// id is the public id that the row has, or will have.
func (row *importRow) id() string {
	if row.given.has(columnPublicID) {
		return row.values[columnPublicID]
	}
	return row.publicID
}

// whole is the row with what it has when it is made.
func (i *importer) whole(row *importRow, now string) portableRow {
	whole := row.portableRow
	whole.set(columnPublicID, row.id())
	for n, column := range i.table.columns {
		switch {
		case whole.given.has(n):
		case n == i.table.createdAt, n == i.table.updatedAt, n == i.table.deletedAt && i.deleted(&whole):
			whole.set(n, now)
		case column.absent != "":
			whole.set(n, column.absent)
		}
	}
	return whole
}

// The lists of an argument, which is a JSON array.
var importLists = map[string]struct{ rows, uuids, texts string }{
	dialect.SQLite: {
		rows:  "json_each(%s)",
		uuids: "(SELECT value FROM json_each(%s))",
		texts: "(SELECT value FROM json_each(%s))",
	},
	dialect.Postgres: {
		rows:  "jsonb_array_elements(%s::jsonb)",
		uuids: "(SELECT jsonb_array_elements_text(%s::jsonb)::uuid)",
		texts: "(SELECT jsonb_array_elements_text(%s::jsonb))",
	},
}

// importCasts read a value of a tuple in PostgreSQL.
var importCasts = map[columnKind]string{
	kindText: "value ->> %d", kindFlag: "(value -> %d)::bool", kindTime: "(value ->> %d)::timestamptz", kindObject: "NULLIF(value -> %d, 'null')",
	kindUUID: "(value ->> %d)::uuid", kindNumber: "(value -> %d)::bigint", kindOwner: "(value -> %d)::bigint",
}

// insertion is the statement that makes rows of tuples, which hold these columns. Its arguments are the
// time, unless updated_at is among the columns, and the tuples.
func (i *importer) insertion(columns columnSet) string {
	if statement, known := i.statements[columns]; known {
		return statement
	}
	var (
		names, values []string
		arguments     = 1
		place         = 0
	)
	for n, column := range i.table.columns {
		name := column.name
		if column.kind == kindOwner {
			name = file.FieldUserID
		}
		value := "value ->> %d"
		if i.Dialect() == dialect.Postgres {
			value = importCasts[column.kind]
		}
		switch {
		case columns.has(n):
			value = fmt.Sprintf(value, place)
			place++
		case n == i.table.updatedAt && i.Dialect() == dialect.Postgres:
			value = "$1::timestamptz"
			arguments++
		case n == i.table.updatedAt:
			value = "$1"
			arguments++
		case column.absent == "":
			continue
		case column.kind == kindText:
			value = "'" + column.absent + "'"
		default:
			value = column.absent
		}
		names, values = append(names, name), append(values, value)
	}
	statement := "INSERT INTO " + i.table.name + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM " + fmt.Sprintf(importLists[i.Dialect()].rows, "$"+strconv.Itoa(arguments)) + " WHERE TRUE ON CONFLICT DO NOTHING RETURNING id, public_id"
	if i.table.email >= 0 {
		statement += ", email, is_deleted"
	}
	i.statements[columns] = statement
	return statement
}

const importTrail = "INSERT INTO audit_logs (created_at, updated_at, at, actor, action, entity, entity_id, changes) SELECT "

var importTrails = map[string]string{
	dialect.SQLite:   importTrail + "$1, $1, $1, $2, '" + audit.Create + "', $3, value ->> 0, value ->> 1 FROM json_each($4)",
	dialect.Postgres: importTrail + "$1::timestamptz, $1, $1, $2, '" + audit.Create + "', $3, (value -> 0)::bigint, value -> 1 FROM jsonb_array_elements($4::jsonb)",
}

// insert makes those of the rows that are new, with their rows of the trail, and returns the others. Accounts
// are told apart by all that decides whether they are new: of rows that share a public id, a later one is
// made when the address of the first is taken.
func (i *importer) insert(ctx context.Context, rows []*importRow, now time.Time) (left []*importRow, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	columns := i.given
	columns = columns.with(columnPublicID)
	columns = columns.with(i.table.createdAt)
	if columns.has(i.table.isDeleted) {
		columns = columns.with(i.table.deletedAt)
	}
	if i.table == portableFiles {
		columns = columns.with(columnOwner)
	}
	tuples, err := i.tuples(rows, columns, now)
	if err != nil {
		return nil, err
	}
	args := []any{now, tuples}
	if columns.has(i.table.updatedAt) {
		args = args[1:]
	}
	type key struct {
		publicID, email string
		deleted         bool
	}
	ids := make(map[key]int, len(rows))
	err = i.db.Read(ctx, i.insertion(columns), args, func(r *row.Row) (err error) {
		id := row.Int(r.Next(), &err)
		made := key{publicID: row.String(r.Next(), &err)}
		if i.table.email >= 0 {
			made.email, made.deleted = row.String(r.Next(), &err), row.Bool(r.Next(), &err)
		}
		ids[made] = id
		return err
	})
	if err != nil {
		return nil, err
	}
	var made []byte
	if i.table.trail != nil {
		made = make([]byte, 0, len(i.changes)+24*len(rows))
	}
	for _, row := range rows {
		key := key{publicID: row.id()}
		if i.table.email >= 0 {
			key.email, key.deleted = row.values[columnEmail], i.deleted(&row.portableRow)
		}
		id := ids[key]
		delete(ids, key) // A row that is the same is another.
		if id == 0 {
			left = append(left, row)
			continue
		}
		row.outcome = imported
		if i.table.trail != nil {
			made = strconv.AppendInt(append(made, ",["...), int64(id), 10)
			made = append(append(append(made, ','), row.changes...), ']')
		}
		row.changes = nil
	}
	if len(made) == 0 {
		return left, nil
	}
	v, err := policy.Asking(ctx)
	if err != nil {
		return nil, err
	}
	_, err = i.ExecContext(ctx, importTrails[i.Dialect()], now, v.String(), user.Label, jsonList(made))
	return left, err
}

// tuples are these columns of the rows as JSON; and it gives the rows their changes for the trail.
func (i *importer) tuples(rows []*importRow, columns columnSet, now time.Time) (string, error) {
	i.texts.Reset()
	i.changes = i.changes[:0]
	var (
		tuples = i.written[:0]
		null   = []byte("null")
		moment = now.Format(time.RFC3339Nano)
		values = make([][]byte, len(i.table.columns))
		trail  = make([][]byte, len(i.table.order))
	)
	for _, row := range rows {
		whole := i.whole(row, moment)
		tuples = append(tuples, ",["...)
		for n, column := range i.table.columns {
			values[n] = null
			if whole.given.has(n) {
				value, err := i.encode(column.kind, &whole.values[n])
				if err != nil {
					return "", err
				}
				values[n] = value
			}
			switch {
			case !columns.has(n):
				continue
			case column.kind == kindOwner:
				tuples = strconv.AppendInt(tuples, int64(row.ownerID), 10)
			case column.kind == kindTime && i.Dialect() == dialect.SQLite && whole.given.has(n):
				tuples = appendSQLiteTime(tuples, whole.values[n])
			default:
				tuples = append(tuples, values[n]...)
			}
			tuples = append(tuples, ',')
		}
		tuples[len(tuples)-1] = ']'
		if i.table.trail != nil {
			for place, n := range i.table.order {
				trail[place] = values[n]
			}
			begin := len(i.changes)
			i.changes = i.table.trail.Append(i.changes, trail)
			row.changes = i.changes[begin:]
		}
	}
	i.written = tuples
	return jsonList(tuples), nil
}

// encode returns a value as JSON, until the next tuples.
func (i *importer) encode(kind columnKind, value *string) ([]byte, error) {
	begin := i.texts.Len()
	switch kind {
	case kindFlag, kindNumber, kindObject:
		i.texts.WriteString(*value)
	case kindTime, kindUUID, kindOwner:
		i.texts.WriteByte('"')
		i.texts.WriteString(*value)
		i.texts.WriteByte('"')
	default:
		err := i.json.Encode(value)
		return bytes.TrimSuffix(i.texts.Bytes()[begin:], []byte{'\n'}), err
	}
	return i.texts.Bytes()[begin:], nil
}

// appendSQLiteTime writes a time in its normal form as SQLite keeps it: see internal/database.
func appendSQLiteTime(tuple []byte, value string) []byte {
	const second = len("2006-01-02T15:04:05")
	tuple = append(append(append(append(tuple, '"'), value[:10]...), ' '), value[11:second]...)
	if fraction := value[second : len(value)-1]; fraction != "" {
		tuple = append(append(append(tuple, fraction...), "000000"[len(fraction)-1:]...), "+00:00"...)
	}
	return append(tuple, '"')
}

// jsonList is a list of values, before each of which there is a comma.
func jsonList(values []byte) string {
	if len(values) > 0 {
		values = values[1:]
	}
	return "[" + string(values) + "]"
}

// findOwners gives files the accounts whose they are, and refuses those of accounts that are not there.
func (i *importer) findOwners(ctx context.Context, rows []*importRow) (owned []*importRow, err error) {
	var ids, emails []string
	for _, row := range rows {
		if row.owner == "" {
			ids = append(ids, row.values[columnOwner])
		} else {
			emails = append(emails, row.owner)
		}
	}
	type account struct {
		id       int
		publicID string
	}
	byPublicID, byEmail := make(map[string]account, len(ids)), make(map[string]account, len(emails))
	find := func(where string, keys []string, do func(account, string)) error {
		if len(keys) == 0 {
			return nil
		}
		list, err := json.Marshal(keys)
		if err != nil {
			return err
		}
		return i.db.Read(ctx, "SELECT id, public_id, email FROM users WHERE "+where, []any{string(list)}, func(r *row.Row) (err error) {
			found := account{row.Int(r.Next(), &err), row.UUID(r.Next(), &err).String()}
			do(found, row.String(r.Next(), &err))
			return err
		})
	}
	lists := importLists[i.Dialect()]
	err = find("public_id IN "+fmt.Sprintf(lists.uuids, "$1"), ids, func(found account, _ string) { byPublicID[found.publicID] = found })
	if err != nil {
		return nil, err
	}
	err = find("NOT is_deleted AND email IN "+fmt.Sprintf(lists.texts, "$1"), emails, func(found account, email string) { byEmail[email] = found })
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		found, field := byPublicID[row.values[columnOwner]], i.table.columns[columnOwner].name
		if row.owner != "" {
			found, field = byEmail[row.owner], ownerByEmail
			row.set(columnOwner, found.publicID)
		}
		if found.id == 0 {
			row.refused = &RefusedRow{row.line, field, "is of no account"}
			continue
		}
		row.ownerID = found.id
		owned = append(owned, row)
	}
	return owned, nil
}

// thereRow is a row that is in the database, or would be there by now in a dry run.
type thereRow struct {
	portableRow

	id   int
	mark *dryRow // instead of values, of a row that a dry run has met in an earlier batch
	dry  *dryRows
	kept int // its number in dry, from 1; 0 if it is not there
	new  bool
}

// has reports whether a column has a value.
func (r *thereRow) has(t *portableTable, n int, value string) bool {
	switch {
	case r.mark == nil:
		return r.given.has(n) && r.values[n] == value
	case n == t.email:
		return r.mark.keys[1] == r.dry.hash(value)
	}
	return r.mark.marks[t.columns[n].mark] == r.dry.markOf(value)
}

func (r *thereRow) is(t *portableTable, flag int) bool { return flag >= 0 && r.has(t, flag, "true") }

// put sets a column, or makes it NULL with none.
func (r *thereRow) put(t *portableTable, n int, value string, null bool) {
	switch {
	case r.mark == nil && null:
		r.given &^= 1 << n
		r.values[n] = ""
	case r.mark == nil:
		r.set(n, value)
	case n == t.email:
		r.mark.keys[1] = r.dry.hash(value)
	case null:
		r.mark.marks[t.columns[n].mark] = 0
	default:
		r.mark.marks[t.columns[n].mark] = r.dry.markOf(value)
	}
}

// thereRows are the rows that those of a batch may meet.
type thereRows struct {
	byPublicID, byEmail map[string]*thereRow
	changed             []*thereRow
}

// look reads the rows that others may meet.
func (i *importer) look(ctx context.Context, rows []*importRow) (*thereRows, error) {
	there := &thereRows{byPublicID: make(map[string]*thereRow), byEmail: make(map[string]*thereRow)}
	ids, emails := make([]string, 0, len(rows)), make([]string, 0, len(rows))
	for _, row := range rows {
		if i.table.email < 0 || row.given.has(columnPublicID) {
			ids = append(ids, row.id())
		}
		if i.table.email >= 0 && !i.deleted(&row.portableRow) {
			emails = append(emails, row.values[columnEmail])
		}
	}
	lists := importLists[i.Dialect()]
	where, args := "WHERE t.public_id IN "+fmt.Sprintf(lists.uuids, "$1"), [][]string{ids}
	if i.table.email >= 0 {
		where = "WHERE t.id IN (SELECT id FROM users WHERE public_id IN " + fmt.Sprintf(lists.uuids, "$1") +
			" UNION ALL SELECT id FROM users WHERE NOT is_deleted AND email IN " + fmt.Sprintf(lists.texts, "$2") + ")"
		args = append(args, emails)
	}
	values := make([]any, len(args))
	for n := range args {
		list, err := json.Marshal(args[n])
		if err != nil {
			return nil, err
		}
		values[n] = string(list)
	}
	err := i.db.Read(ctx, i.table.read+where, values, func(r *row.Row) (err error) {
		found := &thereRow{id: row.Int(r.Next(), &err)}
		if err := found.scan(i.table, r); err != nil {
			return err
		}
		if i.dry == nil || i.dry.find(0, found.values[columnPublicID]) == 0 { // else it would be another by now
			there.add(i.table, found)
		}
		return err
	})
	if err != nil || i.dry == nil {
		return there, err
	}
	i.dry.look(i.table, ids, emails, there)
	return there, nil
}

func (there *thereRows) add(t *portableTable, r *thereRow) {
	there.byPublicID[r.values[columnPublicID]] = r
	if t.email >= 0 && !r.is(t, t.isDeleted) {
		there.byEmail[r.values[columnEmail]] = r
	}
}

// meets returns the row that a row of the file is about, and an account besides that has its address.
func (there *thereRows) meets(i *importer, row *importRow) (met, rival *thereRow) {
	met = there.byPublicID[row.id()]
	if i.table.email < 0 || i.deleted(&row.portableRow) {
		return met, nil
	}
	holder := there.byEmail[row.values[columnEmail]]
	switch {
	case holder == met:
		return met, nil
	case met == nil && !row.given.has(columnPublicID):
		return holder, nil
	}
	return met, holder
}

// update gives a row what differs, as the client's update does.
func (there *thereRows) update(i *importer, met *thereRow, row *importRow, differs columnSet, now time.Time) {
	t := i.table
	for n := range t.columns {
		if differs.has(n) {
			met.put(t, n, row.values[n], false)
		}
	}
	if !met.new && !slices.Contains(there.changed, met) {
		there.changed = append(there.changed, met)
	}
	if t.email < 0 {
		return
	}
	moment := now.Format(time.RFC3339Nano)
	gives := func(column, value string) bool {
		n := t.column(column)
		return differs.has(n) && (value == "" || row.values[n] == value)
	}
	if gives(user.FieldHashedPassword, "") || gives(user.FieldIsActive, "false") || gives(user.FieldIsDeleted, "true") {
		if cutoff := t.column(user.FieldTokensValidAfter); !differs.has(cutoff) {
			met.put(t, cutoff, moment, false)
		}
	}
	switch {
	case gives(user.FieldIsDeleted, "false"):
		met.put(t, t.deletedAt, "", true)
	case gives(user.FieldIsDeleted, "true") && !differs.has(t.deletedAt):
		met.put(t, t.deletedAt, moment, false)
	}
	if differs.has(t.email) || differs.has(t.isDeleted) {
		maps.DeleteFunc(there.byEmail, func(_ string, r *thereRow) bool { return r == met })
		if !met.is(t, t.isDeleted) {
			there.byEmail[row.values[columnEmail]] = met
		}
	}
}

// update sets the columns of a row that is there, by the client.
func (i *importer) update(ctx context.Context, id int, row *importRow, columns columnSet) error {
	var (
		m    ent.Mutation
		exec func(context.Context) error
	)
	if i.table == portableUsers {
		update := i.User.UpdateOneID(id)
		m, exec = update.Mutation(), update.Exec
	} else {
		update := i.File.UpdateOneID(id)
		m, exec = update.Mutation(), update.Exec
	}
	for n, column := range i.table.columns {
		if !columns.has(n) {
			continue
		}
		name, value := column.name, any(row.values[n])
		var err error
		switch column.kind {
		case kindFlag:
			value = row.values[n] == "true"
		case kindTime:
			value = at(row.values[n])
		case kindNumber:
			value, err = strconv.ParseInt(row.values[n], 10, 64)
		case kindObject:
			value, err = jsonobject.Decode([]byte(row.values[n]))
		case kindOwner:
			name, value = file.FieldUserID, row.ownerID
		case kindText, kindUUID: // which is never changed
		}
		if err == nil {
			err = m.SetField(name, value)
		}
		if err != nil {
			return err
		}
	}
	return exec(IncludeDeleted(ctx))
}

// tryInsert decides, for a dry run, which of the rows are new, and returns the others.
func (i *importer) tryInsert(rows []*importRow, there *thereRows, now time.Time) (left []*importRow) {
	for _, row := range rows {
		if met, rival := there.meets(i, row); met != nil || rival != nil {
			left = append(left, row)
			continue
		}
		made := &thereRow{portableRow: i.whole(row, now.Format(time.RFC3339Nano)), new: true}
		there.add(i.table, made)
		if i.table.email >= 0 && !row.given.has(columnPublicID) {
			made.values[columnPublicID] = "" // which no row of the file can give
		}
		there.changed = append(there.changed, made)
		row.outcome = imported
	}
	return left
}

// dryRow is what a dry run keeps of a row that would be made or changed: hashes of its public id and its
// address, and of the other columns, 0 for NULL.
type dryRow struct {
	keys  [2]uint64
	marks [12]uint16
}

// dryRows are found by either key. The slots hold their numbers, from 1, each at its key or in the next one
// that was free; a key that a row had before stays, and finds nothing.
type dryRows struct {
	seed  maphash.Seed
	rows  []*[1024]dryRow
	count int
	slots []uint32
	used  int
}

func newDryRows() *dryRows { return &dryRows{seed: maphash.MakeSeed(), slots: make([]uint32, 1024)} }

func (d *dryRows) hash(value string) uint64 { return maphash.String(d.seed, value) | 1 }

// markOf is never 0.
func (d *dryRows) markOf(value string) uint16 { return max(1, uint16(d.hash(value)>>48)) }

func (d *dryRows) row(number int) *dryRow { return &d.rows[(number-1)/1024][(number-1)%1024] }

// find returns the number of the row with a public id (which 0) or an address (1); 0 for none.
func (d *dryRows) find(which int, value string) int {
	key := d.hash(value)
	deleted := portableUsers.columns[portableUsers.isDeleted].mark
	for n := key >> 1 % uint64(len(d.slots)); d.slots[n] != 0; n = (n + 1) % uint64(len(d.slots)) {
		row := d.row(int(d.slots[n]))
		if row.keys[which] == key && (which == 0 || row.marks[deleted] != d.markOf("true")) {
			return int(d.slots[n])
		}
	}
	return 0
}

func (d *dryRows) index(key uint64, number int) {
	if key == 0 {
		return
	}
	if d.used++; d.used*4 > len(d.slots)*3 {
		d.slots, d.used = make([]uint32, 2*len(d.slots)), 0
		for n := 1; n <= d.count; n++ {
			d.index(d.row(n).keys[0], n)
			d.index(d.row(n).keys[1], n)
		}
		return
	}
	n := key >> 1 % uint64(len(d.slots))
	for d.slots[n] != 0 {
		n = (n + 1) % uint64(len(d.slots))
	}
	d.slots[n] = uint32(number) //nolint:gosec // There is no file with so many rows.
}

// keep remembers the rows that a batch would have made or changed.
func (d *dryRows) keep(t *portableTable, there *thereRows) {
	for _, r := range there.changed {
		var kept dryRow
		if r.mark != nil {
			kept = *r.mark
		} else {
			if r.values[columnPublicID] != "" {
				kept.keys[0] = d.hash(r.values[columnPublicID])
			}
			if t.email >= 0 {
				kept.keys[1] = d.hash(r.values[columnEmail])
			}
			for n, column := range t.columns {
				if column.mark >= 0 && r.given.has(n) {
					kept.marks[column.mark] = d.markOf(r.values[n])
				}
			}
		}
		number := r.kept
		if number == 0 {
			if d.count%1024 == 0 {
				d.rows = append(d.rows, new([1024]dryRow))
			}
			d.count++
			number = d.count
		}
		before := d.row(number).keys
		*d.row(number) = kept
		for n, key := range kept.keys {
			if key != before[n] {
				d.index(key, number)
			}
		}
	}
}

// look adds the rows that earlier batches would have made or changed.
func (d *dryRows) look(t *portableTable, ids, emails []string, there *thereRows) {
	known := make(map[int]*thereRow)
	find := func(which int, value string) *thereRow {
		number := d.find(which, value)
		if number == 0 {
			return nil
		}
		if known[number] == nil {
			mark := *d.row(number)
			known[number] = &thereRow{mark: &mark, dry: d, kept: number}
		}
		return known[number]
	}
	for _, id := range ids {
		if r := find(0, id); r != nil {
			there.byPublicID[id] = r
		}
	}
	if t.email < 0 {
		return
	}
	for _, email := range emails {
		if r := find(1, email); r != nil {
			there.byEmail[email] = r
		}
	}
}
