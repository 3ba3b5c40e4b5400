package database

import (
	"slices"
	"strings"
)

const (
	otherOperation = "OTHER"
	maxSummarized  = 8192 // bytes of a text that are looked at for the operation and the table
	maxShown       = 2048 // bytes of a text that are logged
)

// operations are those that telemetry names. Any other first word could be anything.
var operations = map[string]bool{
	"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "WITH": true, "BEGIN": true, "COMMIT": true, "ROLLBACK": true,
	"SAVEPOINT": true, "RELEASE": true, "CREATE": true, "ALTER": true, "DROP": true, "TRUNCATE": true, "LOCK": true,
	"PRAGMA": true, "SET": true, "SHOW": true, "VACUUM": true, "ANALYZE": true,
}

// summarize tells the operation of a statement, and the first of tables that it names, or "". It answers
// nothing of the text but what is in operations and tables.
func summarize(query string, tables map[string]bool) (operation, table string) {
	s := scanner{text: query[:min(len(query), maxSummarized)]}
	expected := false // the name of a table
	for token := s.next(); token != ended; token = s.next() {
		if token != word && token != quoted {
			continue
		}
		name := strings.Trim(s.text[s.start:s.end], "\"`")
		if expected && table == "" && tables[name] {
			table = name
		}
		upper := strings.ToUpper(name)
		switch {
		case operation == "" && operations[upper]:
			operation = upper
		case operation == "":
			operation = otherOperation
		case operation == "WITH" && (upper == "INSERT" || upper == "UPDATE" || upper == "DELETE"):
			operation = upper
		}
		if table != "" && operation != "WITH" {
			return operation, table
		}
		switch upper {
		case "FROM", "INTO", "UPDATE", "TABLE", "JOIN":
			expected = true
		case "ONLY", "IF", "NOT", "EXISTS":
		default:
			expected = expected && strings.HasPrefix(s.text[s.end:], ".") // It was the schema.
		}
	}
	switch operation {
	case "WITH":
		operation = "SELECT"
	case "":
		operation = otherOperation
	}
	return operation, table
}

// redact is the text of a statement as it may be shown: less the strings and numbers in it. It ends where
// databases differ in how they read on, after 2048 bytes, and with the first of several statements. Of a
// statement that neither reads nor writes rows nothing is shown, for its values may be plain words.
func redact(query string, sqlite bool) string {
	if !changesRows(query) {
		return ""
	}
	var out strings.Builder
	s := scanner{text: query}
	for {
		last := s.end
		token := s.next()
		if token == ended {
			return out.String()
		}
		if s.start > last && out.Len() > 0 {
			out.WriteByte(' ')
		}
		text := s.text[s.start:s.end]
		switch {
		case token == uncertain || unclear(text, sqlite) || out.Len()+len(text) > maxShown:
			return out.String() + "..."
		case token == literal, token == quoted && !isName(text, sqlite):
			out.WriteByte('?')
		default:
			out.WriteString(text)
		}
	}
}

// isName reports whether what is quoted is the plain name of a table or column. SQLite takes what stands in
// double quotes for a string when there is no such name.
func isName(text string, sqlite bool) bool {
	name, closed := strings.CutSuffix(text[1:], text[:1])
	return closed && (text[0] != '"' || !sqlite) && !slices.ContainsFunc([]byte(name), func(c byte) bool { return c > '~' || !isWordByte(c) })
}

// unclear reports whether the databases read on in different ways after text: SQLite has names in brackets, and
// PostgreSQL operators of backticks.
func unclear(text string, sqlite bool) bool {
	return text[0] == ';' || sqlite && text[0] == '[' || !sqlite && text[0] == '`'
}

// What a text consists of.
type token int

const (
	ended token = iota
	word
	quoted // name
	literal
	symbol
	uncertain // how it goes on
)

// scanner takes a text apart without knowing its grammar.
type scanner struct {
	text       string
	start, end int // of the token
}

func (s *scanner) next() token {
	for s.end < len(s.text) && s.text[s.end] <= ' ' {
		s.end++
	}
	s.start = s.end
	if s.start == len(s.text) {
		return ended
	}
	s.end++
	switch c := s.text[s.start]; {
	case c == '\'':
		if s.quote(c); strings.Contains(s.text[s.start:s.end], `\`) {
			return uncertain
		}
		return literal
	case c == '"' || c == '`':
		s.quote(c)
		return quoted
	case c == '-' && s.at('-'):
		s.skip("\n")
		return uncertain
	case c == '/' && s.at('*'):
		s.skip("*/")
		return uncertain
	case c == '$', c == '?': // with its number
		if s.while(isDigit); c == '$' && s.end == s.start+1 { // $tag$ a string $tag$
			return uncertain
		}
		return symbol
	case isDigit(c):
		s.while(func(c byte) bool { return isWordByte(c) || c == '.' })
		return literal
	case isWordByte(c):
		s.while(func(c byte) bool { return isWordByte(c) || c == '$' })
		return word
	}
	return symbol
}

func (s *scanner) at(c byte) bool { return s.end < len(s.text) && s.text[s.end] == c }

func (s *scanner) while(is func(byte) bool) {
	for s.end < len(s.text) && is(s.text[s.end]) {
		s.end++
	}
}

// quote goes to the end of what is quoted; a quote in it is doubled.
func (s *scanner) quote(c byte) {
	for s.end < len(s.text) {
		s.end++
		if s.text[s.end-1] != c {
			continue
		}
		if !s.at(c) {
			return
		}
		s.end++
	}
}

func (s *scanner) skip(to string) {
	if i := strings.Index(s.text[s.end:], to); i >= 0 {
		s.end += i + len(to)
		return
	}
	s.end = len(s.text)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordByte(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
