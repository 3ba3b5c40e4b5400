package password //nolint:testpackage // The list is nobody else's to read.

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What Refuse answers.
const (
	short      = "must have at least 8 characters"
	long       = "must have at most 128 characters"
	known      = "is among the most common passwords: choose one that nobody would guess"
	itsAddress = "must not be the e-mail address"
	invalid    = "must be valid UTF-8"
)

func TestRefuse(t *testing.T) {
	t.Parallel()
	const address = "ada.lovelace@example.org"
	for _, tt := range []struct {
		name, password, want string
	}{
		{"nothing", "", short},
		{"7", "a7#kQ2x", short},
		{"8", "a7#kQ2xZ", ""},
		{"7 of 2 bytes", "йцукенг", short},
		{"8 of 2 bytes", "йцукенгш", ""},
		{"7 of 4 bytes", strings.Repeat("🦉", 7), short},
		{"8 of 4 bytes", strings.Repeat("🦉", 8), ""},
		{"7 composed", strings.Repeat("\u00e9", 7), short},
		{"7 decomposed, 14 code points", strings.Repeat("e\u0301", 7), short},
		{"8 composed", strings.Repeat("\u00e9", 8), ""},
		{"8 decomposed", strings.Repeat("e\u0301", 8), ""},
		{"7 syllables decomposed, 21 code points", strings.Repeat("\u1112\u1161\u11ab", 7), short},
		{"128", strings.Repeat("x", 128), ""},
		{"129", strings.Repeat("x", 129), long},
		{"128 of 2 bytes", strings.Repeat("я", 128), ""},
		{"129 of 2 bytes", strings.Repeat("я", 129), long},
		{"128 of 4 bytes", strings.Repeat("🦉", 128), ""},
		{"128 decomposed, 256 code points", strings.Repeat("e\u0301", 128), ""},
		{"129 decomposed", strings.Repeat("e\u0301", 129), long},
		{"a plain phrase", "the quick brown fox jumps", ""},
		{"lower case alone", "vbnrtyghfjdk", ""},
		{"digits alone", "8052937461", ""},
		{"spaces alone", strings.Repeat(" ", 8), ""},
		{"spaces around", "  a7#kQ2xZ  ", ""},
		{"a tab and a line break", "one\ttwo\nthree", ""},
		{"an emoji of several code points", "👩‍👩‍👧‍👦 family", ""},
		{"NUL", "secret\x00secret", ""},
		{"common", "password", known},
		{"common, in capitals", "PASSWORD", known},
		{"common, in both", "PaSsWoRd", known},
		{"common, with digits", "Password1", known},
		{"common digits", "1234567890", known},
		{"common signs", "!QAZ2wsx", known},
		{"common, with a Kelvin sign", "\u212aINGSTON", known},
		{"common and more", "password horse", ""},
		{"common, with a space", "password ", ""},
		{"the address", address, itsAddress},
		{"the address in capitals", strings.ToUpper(address), itsAddress},
		{"the address and more", address + "1", ""},
		{"its name alone", "ada.lovelace", ""},
		{"invalid UTF-8", "a7#kQ2xZ\xff", invalid},
		{"half a character", "a7#kQ2xZя"[:9], invalid},
		{"invalid and short", "\xff", invalid},
		{"a surrogate", "a7#kQ2xZ\xed\xa0\x80", invalid},
	} {
		if got := Refuse(tt.password, address, MaxLength); got != tt.want {
			t.Errorf("%s: %q answers %q, want %q", tt.name, tt.password, got, tt.want)
		}
	}
}

func TestRefuse_Maximum(t *testing.T) {
	t.Parallel()
	for _, max := range []int{128, 129, 1000, MostMaxLength} {
		for _, letter := range []string{"x", "я", "🦉", "e\u0301"} {
			if got := Refuse(strings.Repeat(letter, max), "", max); got != "" {
				t.Errorf("%d times %q answers %q", max, letter, got)
			}
			if got := Refuse(strings.Repeat(letter, max+1), "", max); !strings.HasPrefix(got, "must have at most ") {
				t.Errorf("%d times %q answers %q", max+1, letter, got)
			}
		}
	}
}

// TestRefuse_NoAddress holds that an empty password is not the address of nobody.
func TestRefuse_NoAddress(t *testing.T) {
	t.Parallel()
	if got := Refuse("", "", MaxLength); got != short {
		t.Errorf("got %q", got)
	}
	if got := Refuse("a7#kQ2xZ", "", MaxLength); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestRefuse_AddressDecomposed has an address in the form in which it is not stored, and the same password.
func TestRefuse_AddressDecomposed(t *testing.T) {
	t.Parallel()
	const address = "jos\u00e9.n\u00fa\u00f1ez@example.org"
	if got := Refuse(norm.NFD.String(address), address, MaxLength); got != itsAddress {
		t.Errorf("answers %q", got)
	}
}

// TestCommon_CanBeFound holds that no line of the list is without effect.
func TestCommon_CanBeFound(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(commonList, "\n"), "\n")
	if len(lines) < 8000 || len(common()) != len(lines) || !slices.IsSorted(lines) {
		t.Errorf("the list has %d lines, %d of them different", len(lines), len(common()))
	}
	for _, line := range lines {
		if line != strings.ToLower(line) || line != norm.NFC.String(line) || utf8.RuneCountInString(line) < MinLength {
			t.Errorf("%q cannot be found, or need not be", line)
		}
		for _, spelling := range []string{line, strings.ToUpper(line)} {
			if got := Refuse(spelling, "", MaxLength); got != known {
				t.Errorf("%q answers %q", spelling, got)
			}
		}
	}
}
