package migration

import (
	"regexp"
	"slices"
	"strings"
)

// tokens is a statement without its comments and spaces.
type tokens []token

type token struct {
	text   string // of a name in quotes what is between them
	quoted bool   // a name in quotes
}

var lexemes = regexp.MustCompile(`(?s)^(?:\s+|--[^\n]*|/\*.*?\*/)|^[Ee]'(?:[^'\\]|''|\\.)*'|^'(?:[^']|'')*'|^"(?:[^"]|"")*"|^` + "`(?:[^`]|``)*`" + `|^[\pL_][\pL\d_$]*|^\d[\d.]*|^.`)

var dollarQuote = regexp.MustCompile(`^\$(?:[\pL_][\pL\d_]*)?\$`)

func scanSQL(statement string) tokens {
	var found tokens
	for rest := statement; rest != ""; {
		text := lexemes.FindString(rest)
		if tag := dollarQuote.FindString(rest); tag != "" {
			text = rest
			if end := strings.Index(rest[len(tag):], tag); end >= 0 {
				text = rest[:len(tag)+end+len(tag)]
			}
		}
		rest = rest[len(text):]
		switch {
		case strings.TrimSpace(text) == "", strings.HasPrefix(text, "--"), strings.HasPrefix(text, "/*"):
		case len(text) > 1 && (text[0] == '"' || text[0] == '`'):
			quote := text[:1]
			found = append(found, token{strings.ReplaceAll(text[1:len(text)-1], quote+quote, quote), true})
		default:
			found = append(found, token{text, false})
		}
	}
	return found
}

// at reports whether these words or signs stand from i on.
func (sql tokens) at(i int, words ...string) bool {
	if i < 0 || i+len(words) > len(sql) {
		return false
	}
	for j, word := range words {
		if sql[i+j].quoted || !strings.EqualFold(sql[i+j].text, word) {
			return false
		}
	}
	return true
}

// find is the place at which the words stand, or -1.
func (sql tokens) find(words ...string) int {
	for i := range sql {
		if sql.at(i, words...) {
			return i
		}
	}
	return -1
}

func (sql tokens) has(words ...string) bool { return sql.find(words...) >= 0 }

// skip returns the place behind the words, if they stand at i, and else i.
func (sql tokens) skip(i int, words ...string) int {
	if sql.at(i, words...) {
		return i + len(words)
	}
	return i
}

// name reads the name at i, less that of a schema before it, and returns the place behind.
func (sql tokens) name(i int) (name string, next int) {
	for i < len(sql) {
		name = sql[i].text
		i++
		if !sql.at(i, ".") {
			break
		}
		i++
	}
	return name, i
}

func (sql tokens) named(i int, name string) bool {
	found, _ := sql.name(i)
	return strings.EqualFold(found, name)
}

// split returns what stands between commas outside of parentheses, from i on.
func (sql tokens) split(i int) []tokens {
	var (
		parts []tokens
		depth int
	)
	begin := i
	for ; i < len(sql); i++ {
		switch {
		case sql.at(i, "("):
			depth++
		case sql.at(i, ")"):
			depth--
		case depth == 0 && sql.at(i, ","):
			parts = append(parts, sql[begin:i])
			begin = i + 1
		}
	}
	if begin < len(sql) {
		parts = append(parts, sql[begin:])
	}
	return parts
}

// altersTable returns the place behind ALTER TABLE and the table's name.
func (sql tokens) altersTable() (next int, ok bool) {
	if !sql.at(0, "ALTER", "TABLE") {
		return 0, false
	}
	_, next = sql.name(sql.skip(sql.skip(2, "IF", "EXISTS"), "ONLY"))
	return sql.skip(next, "*"), true
}

// createsIndex returns the place behind CREATE INDEX.
func (sql tokens) createsIndex() (next int, ok bool) {
	if !sql.at(0, "CREATE") {
		return 0, false
	}
	i := sql.skip(1, "UNIQUE")
	return i + 1, sql.at(i, "INDEX")
}

// concurrent reports whether the statement is one that PostgreSQL refuses in a transaction.
func (sql tokens) concurrent() bool {
	if i, ok := sql.createsIndex(); ok {
		return sql.at(i, "CONCURRENTLY")
	}
	if sql.at(0, "DROP", "INDEX") {
		return sql.at(2, "CONCURRENTLY")
	}
	return sql.at(0, "REINDEX") && sql.has("CONCURRENTLY") || sql.at(0, "ALTER", "TABLE") && sql.has("DETACH") && sql.has("CONCURRENTLY")
}

// alone reports whether the statement cannot be in a transaction.
func (sql tokens) alone() bool {
	return sql.concurrent() || sql.at(0, "VACUUM") || sql.at(0, "PRAGMA")
}

// repeatable reports whether the statement may run again after it has run.
func (sql tokens) repeatable() bool {
	return sql.has("IF", "EXISTS") || sql.has("IF", "NOT", "EXISTS") || sql.has("OR", "REPLACE") || sql.at(0, "REINDEX") || sql.at(0, "VACUUM") || sql.sets()
}

// sets reports whether the statement changes the session alone.
func (sql tokens) sets() bool { return sql.at(0, "SET") || sql.at(0, "RESET") || sql.at(0, "PRAGMA") }

// retyped returns the columns whose type an ALTER TABLE sets.
func (sql tokens) retyped() []string {
	i, ok := sql.altersTable()
	if !ok {
		return nil
	}
	var columns []string
	for _, action := range sql.split(i) {
		if !action.at(0, "ALTER") {
			continue
		}
		name, next := action.name(action.skip(1, "COLUMN"))
		if action.at(action.skip(next, "SET", "DATA"), "TYPE") {
			columns = append(columns, name)
		}
	}
	return columns
}

// empties reports whether the statement removes every row of the table.
func (sql tokens) empties(table string) bool {
	if sql.at(0, "DELETE", "FROM") {
		return sql.named(sql.skip(2, "ONLY"), table) && !sql.has("WHERE")
	}
	if !sql.at(0, "TRUNCATE") {
		return false
	}
	return slices.ContainsFunc(sql.split(sql.skip(1, "TABLE")), func(part tokens) bool { return part.named(part.skip(0, "ONLY"), table) })
}

// fills reports whether an UPDATE leaves no NULL in the column.
func (sql tokens) fills(table, column string) bool {
	set, where := sql.find("SET"), sql.find("WHERE")
	if !sql.at(0, "UPDATE") || set < 0 || !sql.named(sql.skip(1, "ONLY"), table) {
		return false
	}
	if where < 0 {
		where = len(sql)
	} else if !sql[where:].isNull(column) {
		return false
	}
	return slices.ContainsFunc(sql[:where].split(set+1), func(part tokens) bool { return part.named(0, column) && part.at(1, "=") })
}

// isNull reports whether the condition is that the column is NULL, and no other.
func (sql tokens) isNull(column string) bool {
	_, next := sql.name(1)
	return sql.named(1, column) && sql.at(next, "IS", "NULL") && len(sql.skipEnd(next+2)) == 0
}

// skipEnd returns what stands from i on, less the semicolon.
func (sql tokens) skipEnd(i int) tokens {
	rest := sql[i:]
	if n := len(rest); n > 0 && rest.at(n-1, ";") {
		rest = rest[:n-1]
	}
	return rest
}

// copiesFilled reports whether an INSERT copies the table with something in the place of NULLs of the column.
func (sql tokens) copiesFilled(table, column string) bool {
	from := sql.find("FROM")
	if !sql.at(0, "INSERT") || from < 0 || !sql.named(from+1, table) {
		return false
	}
	for i := range sql[:from] {
		if (sql.at(i, "IFNULL", "(") || sql.at(i, "COALESCE", "(")) && sql.named(i+2, column) {
			return true
		}
	}
	return false
}

func (sql tokens) createsView(name string) bool {
	i := sql.find("VIEW")
	return sql.at(0, "CREATE") && i > 0 && i <= 4 && sql.named(sql.skip(i+1, "IF", "NOT", "EXISTS"), name)
}

// inserts returns the columns that an INSERT into the table names.
func (sql tokens) inserts(table string) (columns []string, ok bool) {
	i := sql.find("INTO")
	if !sql.at(0, "INSERT") && !sql.at(0, "REPLACE") || i < 0 || !sql.named(i+1, table) {
		return nil, false
	}
	_, i = sql.name(i + 1)
	if !sql.at(i, "(") || sql.at(i+1, "SELECT") {
		return nil, true
	}
	for i++; i < len(sql) && !sql.at(i, ")"); i++ {
		if !sql.at(i, ",") {
			columns = append(columns, sql[i].text)
		}
	}
	return columns, true
}

// control returns the word of transaction control in a text that may hold several statements: after it the
// rest would run outside of the transaction that is to be undone, or that belongs to the file.
func (sql tokens) control() string {
	if sql.at(0, "CREATE") && (sql.has("TRIGGER") || sql.has("BEGIN", "ATOMIC")) {
		return "" // Its body has a BEGIN and an END of its own.
	}
	for i := range sql {
		if i > 0 && !sql.at(i-1, ";") {
			continue
		}
		for _, word := range []string{"BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK", "PREPARE"} {
			if sql.at(i, word) && (word != "PREPARE" || sql.at(i+1, "TRANSACTION")) {
				return word
			}
		}
	}
	return ""
}

// elsewhere returns what in the statement leads out of the current schema: the name of one of the schemas,
// or the search_path.
func (sql tokens) elsewhere(schemas []string) string {
	for i, token := range sql {
		text := strings.Trim(token.text, "'")
		if strings.EqualFold(text, "search_path") {
			return "the search_path"
		}
		for _, schema := range schemas {
			same := token.text == schema || !token.quoted && strings.EqualFold(token.text, schema)
			if same && sql.at(i+1, ".") || strings.HasPrefix(token.text, "'"+schema+".") {
				return "the schema " + schema
			}
		}
	}
	return ""
}
