package password

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds in characters. NIST SP 800-63B, 5.1.1.2: at least 8, and no less than 64 are to be allowed; it
// asks for no rules of composition, and for a list of common passwords that are refused.
const (
	MinLength     = 8
	MaxLength     = 128
	MostMaxLength = 4096 // what an option may raise MaxLength to
)

// Refuse says why a password is not to be taken as a new one, or returns "". max is its most characters,
// address whose password it would be.
func Refuse(password, address string, max int) string {
	switch {
	case TooLong(password, max):
		return fmt.Sprintf("must have at most %d characters", max)
	case !utf8.ValidString(password):
		return "must be valid UTF-8"
	case length(password) < MinLength:
		return fmt.Sprintf("must have at least %d characters", MinLength)
	case common()[strings.ToLower(password)]:
		return "is among the most common passwords: choose one that nobody would guess"
	case address != "" && strings.EqualFold(norm.NFC.String(password), address):
		return "must not be the e-mail address"
	}
	return ""
}

// TooLong reports whether a password has more than max characters. It costs little, however long that is.
func TooLong(password string, max int) bool {
	const most = 16 // bytes of a character that NFC composes
	return len(password) > most*max || length(password) > max
}

// length counts characters as the hash takes them.
func length(password string) int { return utf8.RuneCountInString(norm.NFC.String(password)) }

// commonList is those with 8 characters or more of 20,000 that Royce Williams gathered from breaches, in
// lower case (https://gist.github.com/roycewilliams/281ce539915a947a23db17137d91aeb7).
//
//go:embed common.txt
var commonList string

var common = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(commonList) {
		set[strings.TrimSuffix(line, "\n")] = true
	}
	return set
})
