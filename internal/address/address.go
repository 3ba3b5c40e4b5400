// Package address gives e-mail addresses their one normal form, in which they are stored, looked up and unique.
package address

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"entgo.io/ent"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/schema"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/reviewpoint/models/internal/text"
	"github.com/reviewpoint/models/internal/validation"
)

// Bounds in bytes of UTF-8, in which they are sent (RFC 6531, 3.4).
const (
	maxBytes = 254          // RFC 5321, 4.5.3.1.3, less the angle brackets
	maxLocal = 64           // RFC 5321, 4.5.3.1.1
	maxGiven = 4 * maxBytes // of an address that is not in its normal form yet
)

// What an address must be.
var (
	errLong      = errors.New("must have at most 254 bytes")
	errForm      = errors.New("must be an address such as name@example.org")
	errLocalLong = errors.New("must have at most 64 bytes before the @")
	errLocal     = errors.New("must have letters, digits and any of !#$%&'*+-/=?^_`{|}~ before the @, with single dots between them")
	errDomain    = errors.New("must have the name of a domain after the @, such as example.org")
	errUnstable  = errors.New("has letters whose lower case is not settled")
)

// Normal returns the normal form: without spaces around it, in lower case, composed (Unicode's NFC), the
// domain in letters rather than in the code of DNS (пример.рф, not xn--e1afmkfd.xn--p1ai). It is the
// normal form of itself. An error says what an address must be, and holds nothing of it.
//
// The syntax is that of SMTP with Unicode (RFC 5321 and 6531), less what no mail service gives out:
// quoted names, comments and numbers in place of a domain.
func Normal(address string) (string, error) {
	if isPlain(address) {
		return address, nil
	}
	normal, err := once(address)
	if err != nil {
		return "", err
	}
	if again, err := once(normal); err != nil || again != normal {
		return "", errUnstable
	}
	return normal, nil
}

// isPlain is true of most addresses that are in their normal form, at little cost: of a domain in ASCII without
// capitals that IDNA leaves as it is, and a name before it in ASCII.
func isPlain(address string) bool {
	at := strings.IndexByte(address, '@')
	if at < 1 || at > maxLocal || len(address) > maxBytes || !isDotAtom(address[:at]) {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(address[at+1:], ".") {
		const maxLabel = 63 // RFC 1035, 2.3.4
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' || strings.Contains(label, "--") {
			return false
		}
		last = label
	}
	for i := range len(address) {
		if c := address[i]; c >= utf8.RuneSelf || i > at && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return strings.Trim(last, "0123456789") != ""
}

func once(address string) (string, error) {
	if len(address) > maxGiven { // before it costs anything
		return "", errLong
	}
	if err := text.Valid(address); err != nil {
		return "", err
	}
	address = norm.NFC.String(lower(norm.NFC.String(strings.TrimSpace(address))))
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 {
		return "", errForm
	}
	local := address[:at]
	if len(local) > maxLocal {
		return "", errLocalLong
	}
	if !isDotAtom(local) {
		return "", errLocal
	}
	domain, err := normalDomain(address[at+1:])
	if err != nil {
		return "", errDomain
	}
	normal := local + "@" + domain
	if len(normal) > maxBytes {
		return "", errLong
	}
	return normal, nil
}

// lower is the lower case of Unicode. strings.ToLower differs in the one letter that becomes two, and would
// make mİke the address of mike.
func lower(s string) string { return strings.ToLower(strings.ReplaceAll(s, "\u0130", "i\u0307")) }

// isDotAtom is the Dot-string of RFC 5321, 4.1.2, with the letters of RFC 6531, 3.3. Of those, only what
// can be seen. Letters of different scripts that look alike are different letters.
func isDotAtom(local string) bool {
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtomText(r) }) {
			return false
		}
	}
	return true
}

func isAtomText(r rune) bool {
	if r >= utf8.RuneSelf {
		const brailleBlank = '\u2800'
		return unicode.IsPrint(r) && r != brailleBlank && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	}
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// domains are as browsers look them up (UTS 46, not transitional), of letters, digits and hyphens.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true), idna.Transitional(false))

func normalDomain(domain string) (string, error) {
	if _, err := domains.ToASCII(domain); err != nil { // which checks the lengths
		return "", err
	}
	unicode, err := domains.ToUnicode(domain)
	if err != nil {
		return "", err
	}
	if last := unicode[strings.LastIndexByte(unicode, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return "", errDomain // of an address of IPv4
	}
	return norm.NFC.String(unicode), nil
}

// Hook gives the column its normal form in whatever is created or updated, or answers a *validation.Error.
func Hook(column string) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			value, set := m.Field(column)
			given, ok := value.(string)
			if !set || !ok {
				return next.Mutate(ctx, m)
			}
			normal, err := Normal(given)
			if err != nil {
				return nil, validation.Because(m.Type(), column, err.Error(), err)
			}
			if err := m.SetField(column, normal); err != nil {
				return nil, err
			}
			return next.Mutate(ctx, m)
		})
	}
}

// Column as an annotation tells the templates which column of an entity is an address.
type Column struct{ Column string }

var _ schema.Annotation = Column{}

// Name is that of the annotation.
func (Column) Name() string { return "Address" }

// OnConflict has an upsert that sets the column set the address that it would create, which is in its
// normal form; what else it sets no hook sees.
func OnConflict(column string) func(*sql.UpdateSet) {
	return func(u *sql.UpdateSet) {
		if slices.Contains(u.UpdateColumns(), column) {
			u.SetExcluded(column)
		}
	}
}
