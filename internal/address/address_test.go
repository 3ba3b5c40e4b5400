package address //nolint:testpackage // The reasons are told by their values.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models/internal/text"
)

func TestNormal(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"ada@example.org":                   "ada@example.org",
		"Ada@Example.ORG":                   "ada@example.org",
		"!#$%&'*+-/=?^_`{|}~.0@example.org": "!#$%&'*+-/=?^_`{|}~.0@example.org",
		"ada+tag@example.org":               "ada+tag@example.org",
		"a@b":                               "a@b",
		"a@localhost":                       "a@localhost",

		// Spaces around.
		"\x20\t\r\nada@example.org\v\f\x20":         "ada@example.org",
		"\u00a0\u2003\u3000ada@example.org\u2028":   "ada@example.org",
		"\u0085\u1680\u202fada@example.org\u205f\n": "ada@example.org",

		// Composed and decomposed, before and after the lower case.
		"e\u0301@example.org":                     "\u00e9@example.org",
		"E\u0301@example.org":                     "\u00e9@example.org",
		"a@e\u0301.example":                       "a@\u00e9.example",
		"\u1112\u1161\u11ab@example.org":          "\ud55c@example.org",
		"\u212bngstr\u00f6m@example.org":          "\u00e5ngstr\u00f6m@example.org",
		"=\u0338@example.org":                     "\u2260@example.org",
		"W\u0325\u030a@example.org":               "\u1e98\u0325@example.org", // composed again after the lower case
		"w\u030a\u0325@example.org":               "\u1e98\u0325@example.org",
		"\u03b1\u0345\u0301@example.org":          "\u1fb4@example.org",
		"\u1e9b\u0323@example.org":                "\u1e9b\u0323@example.org",
		"\u0958@example.org":                      "\u0915\u093c@example.org",
		"\u1100\uac00\u11a8@example.org":          "\u1100\uac01@example.org",
		"a" + strings.Repeat("\u0316", 30) + "@b": "a" + strings.Repeat("\u0316", 30) + "@b",

		// Letters whose lower case is something else than one would think.
		"\u212aelvin@example.org": "kelvin@example.org",
		"\u0130@example.org":      "i\u0307@example.org",
		"I\u0307@example.org":     "i\u0307@example.org",
		"i\u0307@example.org":     "i\u0307@example.org",
		"\u0131@example.org":      "\u0131@example.org",
		"ΣΑΣ@example.org":         "σασ@example.org",
		"σας@example.org":         "σας@example.org", // another address than the one above
		"STRASSE@example.org":     "strasse@example.org",
		"straße@example.org":      "straße@example.org",
		"\u1e9e@example.org":      "ß@example.org",
		"\u01c5@example.org":      "\u01c6@example.org",
		"\uff21@example.org":      "\uff41@example.org",
		"\ufb01@example.org":      "\ufb01@example.org",

		// Domains.
		"Юзер0@Пример.РФ":                       "юзер0@пример.рф",
		"юзер0@xn--e1afmkfd.xn--p1ai":           "юзер0@пример.рф",
		"a@XN--E1AFMKFD.xn--P1AI":               "a@пример.рф",
		"a@xn--strae-oqa.de":                    "a@straße.de",
		"a@straße.de":                           "a@straße.de",
		"a@STRASSE.de":                          "a@strasse.de",
		"a@σας.gr":                              "a@σας.gr",
		"a@example\u3002org":                    "a@example.org",
		"a@\uff45xample\uff0eorg":               "a@example.org",
		"a@\ufb01nd.org":                        "a@find.org",
		"a@exam\u00adple.org":                   "a@example.org",
		"a@\u212aelvin.org":                     "a@kelvin.org",
		"a@xn--mgba3gch31f060k.com":             "a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com",
		"a@💩.la":                                "a@💩.la",
		"a@xn--ls8h.la":                         "a@💩.la",
		"a@a--b.0x7f":                           "a@a--b.0x7f",
		"a@1.2.3.org":                           "a@1.2.3.org",
		"👩@example.org":                         "👩@example.org",
		"a@" + strings.Repeat("x", 63) + ".org": "a@" + strings.Repeat("x", 63) + ".org",

		// Lengths.
		strings.Repeat("x", 64) + "@b":                "" + strings.Repeat("x", 64) + "@b",
		strings.Repeat("я", 32) + "@b":                "" + strings.Repeat("я", 32) + "@b",
		strings.Repeat("e\u0301", 32) + "@b":          strings.Repeat("\u00e9", 32) + "@b", // 96 bytes before it is composed
		withLength(254):                               withLength(254),
		strings.Repeat(" ", 1000) + "a@b":             "a@b",
		strings.ToUpper(withLength(254)) + "\u3000\n": withLength(254),
	} {
		got, err := Normal(given)
		if err != nil || got != want {
			t.Errorf("%+q becomes %+q, %v; want %+q", given, got, err, want)
		}
		if again, err := Normal(got); err != nil || again != got {
			t.Errorf("%+q becomes %+q, %v; want itself", got, again, err)
		}
	}
}

// withLength is an address of so many bytes.
func withLength(n int) string {
	local, label := strings.Repeat("x", 64)+"@", strings.Repeat("y", 61)+"."
	address := local + label + label + label
	return address + strings.Repeat("z", n-len(address))
}

func TestNormal_Refuses(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]error{
		"":                   errForm,
		" ":                  errForm,
		"@":                  errForm,
		"ada":                errForm,
		"example.org":        errForm,
		"@example.org":       errForm,
		"ada@":               errForm,
		"ada@ ":              errForm,
		" @example.org":      errForm,
		"a@b@c":              errLocal,
		"a@@b":               errLocal,
		"@a@b":               errLocal,
		"a@b@":               errForm,
		"\uff20b.org":        errForm, // a wide @
		"ada example.org":    errForm,
		".a@b":               errLocal,
		"a.@b":               errLocal,
		"a..b@c":             errLocal,
		".@b":                errLocal,
		"a b@c":              errLocal,
		"a\tb@c":             errLocal,
		"a\u00a0b@c":         errLocal,
		"a\u3000b@c":         errLocal,
		"\"ada\"@b":          errLocal,
		"\"a b\"@c":          errLocal,
		"\"a@b\"@c":          errLocal,
		"a(comment)@b":       errLocal,
		"(comment)a@b":       errLocal,
		"a@(comment)b":       errDomain,
		"a@b(comment)":       errDomain,
		"Ada <ada@b>":        errLocal,
		"<ada@b>":            errLocal,
		"mailto:ada@b":       errLocal,
		"a,b@c":              errLocal,
		"a;b@c":              errLocal,
		"a:b@c":              errLocal,
		"a\\b@c":             errLocal,
		"a[b]@c":             errLocal,
		"a@b, c@d":           errLocal,
		"a\r\nBcc: b@c":      errLocal,
		"a@b\r\nBcc: c@d":    errLocal,
		"a@b\r\nc":           errDomain,
		"a\x01@b":            errLocal,
		"a\x7f@b":            errLocal,
		"a\u0080@b":          errLocal,
		"a\u00ad@b":          errLocal, // a soft hyphen
		"a\u200b@b":          errLocal, // a space without width
		"a\u200c@b":          errLocal,
		"a\u200d@b":          errLocal,
		"👩\u200d👧@b":         errLocal,
		"a\u200e@b":          errLocal, // a change of direction
		"\u202ea@b":          errLocal,
		"a\u2060@b":          errLocal,
		"a\u2066b\u2069@b":   errLocal,
		"a\ufeff@b":          errLocal,
		"\ufeffa@b":          errLocal,
		"a\ufffe@b":          errLocal, // no character
		"a\ue000@b":          errLocal, // a private one
		"a\U000e0041@b":      errLocal, // a tag
		"a\u0378@b":          errLocal, // one that nobody has assigned
		"a@.b":               errDomain,
		"a@b.":               errDomain,
		"a@b..c":             errDomain,
		"a@.":                errDomain,
		"a@\u3002":           errDomain,
		"a@b\u3002":          errDomain,
		"a@-b.org":           errDomain,
		"a@b-.org":           errDomain,
		"a@ab--c.org":        errDomain,
		"a@b_c.org":          errDomain,
		"a@b c":              errDomain,
		"a@b\tc":             errDomain,
		"a@b\u3000c":         errDomain,
		"a@b!c":              errDomain,
		"a@b/c":              errDomain,
		"a@b:25":             errDomain,
		"a@b\uff20c.org":     errDomain,
		"a@\u0301b.org":      errDomain,
		"a@b\u200dc.org":     errDomain,
		"a@[127.0.0.1]":      errDomain,
		"a@[IPv6:::1]":       errDomain,
		"a@127.0.0.1":        errDomain,
		"a@127.1":            errDomain,
		"a@2130706433":       errDomain,
		"a@1.2.3.\uff14":     errDomain,
		"a@example.123":      errDomain,
		"a@::1":              errDomain,
		"a@xn--":             errDomain,
		"a@xn--a":            errDomain,
		"a@xn--example-.org": errDomain,
		"a@xn--EXAMPLE.org":  errDomain,
		"a@xn--a-ecp.ru":     errDomain, // not the code of its letters
		"א@1א.org":           errDomain, // a name in two directions

		"a@" + strings.Repeat("x", 64) + ".org":                      errDomain,
		"a@" + strings.Repeat("я", 60) + ".рф":                       errDomain, // 63 in the code of DNS, and more
		strings.Repeat("x", 65) + "@b":                               errLocalLong,
		strings.Repeat("я", 32) + "x@b":                              errLocalLong,
		"a" + strings.Repeat("\u0316", 32) + "@b":                    errLocalLong,
		withLength(255):                                              errLong,
		"x@" + strings.TrimSuffix(strings.Repeat("яяяяя.", 30), "."): errDomain,

		"a@x\u2135y.org": errUnstable, // the sign becomes a letter that may not stand there

		"a\x00@b":          text.ErrNUL,
		"a@b\x00":          text.ErrNUL,
		"\x00":             text.ErrNUL,
		"a\xff@b":          text.ErrInvalidUTF8,
		"a@b\xff":          text.ErrInvalidUTF8,
		"\xc0\xaf@b":       text.ErrInvalidUTF8,
		"\xed\xa0\x80@b":   text.ErrInvalidUTF8,
		"a@b\xd1":          text.ErrInvalidUTF8,
		"\xf4\x90\x80\x80": text.ErrInvalidUTF8,
	} {
		got, err := Normal(given)
		if got != "" || !errors.Is(err, want) {
			t.Errorf("%+q becomes %+q, %v; want %v", given, got, err, want)
		}
	}
}

// TestNormal_Invisible has characters that count as letters, marks and signs, and show nothing.
func TestNormal_Invisible(t *testing.T) {
	t.Parallel()
	for _, r := range []rune{
		'\u034f', '\u115f', '\u1160', '\u17b4', '\u17b5', '\u180b', '\u180f', '\u2800', '\u3164', '\ufe00', '\ufe0f', '\uffa0', '\U000e0100', '\U000e01ef',
	} {
		for _, local := range []string{string(r), "ada" + string(r), string(r) + "ada"} {
			if got, err := Normal(local + "@example.org"); !errors.Is(err, errLocal) {
				t.Errorf("%+q becomes %+q, %v", local+"@example.org", got, err)
			}
		}
	}
}

// TestNormal_Long has a domain whose code costs the square of its length: some minutes, if it is computed.
func TestNormal_Long(t *testing.T) {
	t.Parallel()
	var domain strings.Builder
	for r := rune(0x10000); r < 0x50000; r++ {
		domain.WriteRune(r)
	}
	for _, given := range []string{domain.String(), "a@" + domain.String(), "a@" + domain.String() + ".org"} {
		if _, err := Normal(given); err == nil {
			t.Errorf("an address of %d bytes is taken", len(given))
		}
	}
}

// TestNormal_Spellings has the ways in which people write one address.
func TestNormal_Spellings(t *testing.T) {
	t.Parallel()
	for normal, spellings := range map[string][]string{
		"юзер0@пример.рф": {
			"ЮЗЕР0@ПРИМЕР.РФ", "юзер0@xn--e1afmkfd.xn--p1ai", "Юзер0@XN--E1AFMKFD.рф", " юзер0@пример\u3002рф\n",
		},
		"josé.núñez@müller.example": {
			"JOSÉ.NÚÑEZ@MÜLLER.EXAMPLE", "jose\u0301.nu\u0301n\u0303ez@mu\u0308ller.example", "José.Núñez@xn--mller-kva.example",
		},
	} {
		for _, spelling := range append(spellings, normal) {
			if got, err := Normal(spelling); err != nil || got != normal {
				t.Errorf("%q becomes %q, %v; want %q", spelling, got, err, normal)
			}
		}
	}
}

// TestNormal_ErrorsHoldNothing looks for any piece of what was refused.
func TestNormal_ErrorsHoldNothing(t *testing.T) {
	t.Parallel()
	for _, given := range []string{
		"canary", "canary@", "@canary", "can ary@canary.test", "canary@can_ary.test", "canary@1.2.3.4", "canary@xn--canary-.test",
		"canary@canary.test\x00", "canary\xff@canary.test", strings.Repeat("canary", 11) + "@b",
		"a@" + strings.Repeat("canary.", 40) + "org", "א@1א.canary", "canary@canary..test",
	} {
		_, err := Normal(given)
		if err == nil {
			t.Errorf("%q is accepted", given)
		}
		for shown := err; shown != nil; shown = errors.Unwrap(shown) {
			for _, how := range []string{"%v", "%+v", "%#v"} {
				if text := fmt.Sprintf(how, shown); strings.Contains(text, "canary") || strings.Contains(text, "1.2.3") {
					t.Errorf("%q is refused with %s", given, text)
				}
			}
		}
	}
}

// cased are the ways to write an address in capitals, less those that are another address: some small
// letters share their capital with others (ς and σ, ſ and s, ı and i), and some become several.
func cased(address string) []string {
	lower := strings.ToLower // which is not EqualFold: that takes ς for σ
	var all []string
	for _, change := range []func(string) string{strings.ToUpper, strings.ToTitle, strings.ToLower} {
		if other := change(address); lower(norm.NFC.String(other)) == lower(address) {
			all = append(all, other)
		}
	}
	return all
}

// FuzzNormal holds that a normal form is its own, fits everywhere, and has one way in.
func FuzzNormal(f *testing.F) {
	for _, seed := range []string{
		"", "a@b", " Ada@Example.ORG ", "Юзер0@Пример.РФ", "a@xn--e1afmkfd.xn--p1ai", "\u212a@\u212a.org", "\u0130@\u0130.org",
		"ΣΑΣ@ΣΑΣ.gr", "σας@σας.gr", "e\u0301@e\u0301.org", "a@1.2.3.4", "\"a b\"@c", "a@[::1]", "a\u034f\u0301@b", "Ᏸ@Ᏸ.org",
		"a@exam\u00adple\u3002org", "👩@💩.la", "\u1e9b\u0323@\u1e9b\u0323.org", "a" + strings.Repeat("\u0301", 33) + "@b", withLength(254),
		"a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com", "W\u0325\u030a@b", "\u03b1\u0345\u0301@b", "\u0958@\u0958.org", "a@b\x00", "\xff",
		"\u0345@b", "\u1f80@\u1f80.gr", "\u0390@b", "\u01f0@b", "\u0149@b", "a@\u0587.org", "\u1c80@\u1c80.org", "ẞ@ẞ.de", "\u1c80@\u13c0", "a@x\u2135y.org", "I\u0307@b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		normal, err := Normal(given)
		if err != nil {
			if normal != "" {
				t.Errorf("%+q becomes %+q, and answers %v", given, normal, err)
			}
			return
		}
		if again, err := Normal(normal); err != nil || again != normal {
			t.Errorf("%+q becomes %+q, which becomes %+q, %v", given, normal, again, err)
		}
		if got, err := Normal(norm.NFD.String(given)); err != nil || got != normal {
			t.Errorf("%+q becomes %+q, but decomposed %+q, %v", given, normal, got, err)
		}
		at := strings.LastIndexByte(normal, '@')
		switch local, domain := normal[:at], normal[at+1:]; {
		case !utf8.ValidString(normal), strings.ContainsRune(normal, 0):
			t.Errorf("%+q becomes %+q, which is no text", given, normal)
		case len(normal) > 254, len(local) > 64, len(local) < 1, len(domain) < 1:
			t.Errorf("%+q becomes %+q, with %d and %d bytes", given, normal, len(local), len(domain))
		case !norm.NFC.IsNormalString(normal):
			t.Errorf("%+q becomes %+q, which is not composed", given, normal)
		case strings.ContainsFunc(normal, unicode.IsSpace), strings.ContainsFunc(normal, unicode.IsControl):
			t.Errorf("%+q becomes %+q, with a space in it", given, normal)
		case strings.Contains(local, "@"), strings.HasPrefix(domain, "."), strings.HasSuffix(domain, "."), strings.Contains(normal, ".."):
			t.Errorf("%+q becomes %+q, with signs where none belong", given, normal)
		case strings.ToLower(local) != local:
			t.Errorf("%+q becomes %+q, with capitals", given, normal)
		// UTS 46 gives Cherokee in domains its capitals, which are the older letters.
		case strings.ToLower(domain) != domain && !strings.ContainsFunc(domain, func(r rune) bool { return unicode.Is(unicode.Cherokee, r) }):
			t.Errorf("%+q becomes %+q, with capitals in the domain", given, normal)
		}
		ascii, err := domains.ToASCII(normal[at+1:])
		if err != nil {
			t.Errorf("%+q becomes %+q: %v", given, normal, err)
		}
		for _, other := range append(cased(normal), norm.NFD.String(normal), " "+normal+"\u3000", normal[:at+1]+ascii, normal[:at+1]+strings.ToUpper(ascii)) {
			if got, err := Normal(other); err != nil || got != normal {
				t.Errorf("%+q becomes %+q, but %+q, which is the same, %+q, %v", given, normal, other, got, err)
			}
		}
	})
}

// TestIsPlain holds that the short way answers what the long one does.
func TestIsPlain(t *testing.T) {
	t.Parallel()
	const letters = "abz09-.@xn-+_A\u00e9 "
	random := rand.New(rand.NewPCG(1, 2))
	plain := 0
	try := func(address string) {
		if !isPlain(address) {
			return
		}
		plain++
		if normal, err := once(address); err != nil || normal != address {
			t.Errorf("%q is not plain: %q, %v", address, normal, err)
		}
	}
	for range 300_000 {
		runes := []rune(letters)
		address := make([]rune, 3+random.IntN(9))
		for i := range address {
			address[i] = runes[random.IntN(len(runes))]
		}
		try(string(address))
		try("a@" + string(address))
	}
	for n := range 300 {
		long := strings.Repeat("a", n)
		for _, address := range []string{long + "@b", "a@" + long, "a@b." + long, "a@" + long + ".b", "a@" + strings.Repeat("b.", n/2) + "c"} {
			try(address)
		}
	}
	if plain < 10_000 {
		t.Errorf("only %d were plain", plain)
	}
	for address, want := range map[string]bool{"ada@example.org": true, "a.b+c@x-y.example": true, "Ada@example.org": false, "a@xn--e1afmkfd": false, "a@1.2.3.4": false} {
		if isPlain(address) != want {
			t.Errorf("%q is plain: %t", address, !want)
		}
	}
}
