// Package password hashes passwords and verifies them, within the memory that it was given.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"
)

// None is stored for an account without a password. No password matches it.
const None = "!"

// Hasher hashes and verifies with Argon2id (RFC 9106). However many callers there are, the hashes that
// are computed at once use no more than its memory; the others wait. Until the garbage collector has come,
// the memory of hashes that are done counts, too: with GOGC=100 about as much again. It is safe for use by
// several goroutines.
type Hasher struct {
	params Params
	memory int64 // KiB for all hashes that are computed at once
	free   *semaphore.Weighted
	decoy  hash // costs what a hash costs, and matches nothing
}

// New returns a hasher whose hashes have these parameters, and which uses at most the given KiB of memory
// at once; for a hash that alone asks for more, it does one at a time.
func New(params Params, memory int64) (*Hasher, error) {
	if err := params.check(); err != nil {
		return nil, err
	}
	if memory < int64(params.Memory) {
		return nil, fmt.Errorf("passwords are hashed with %d KiB of memory, but only %d are allowed", params.Memory, memory)
	}
	return &Hasher{
		params: params,
		memory: memory,
		free:   semaphore.NewWeighted(memory),
		decoy:  hash{Params: params, salt: make([]byte, saltSize), key: make([]byte, keySize)},
	}, nil
}

// Hash returns the hash of a password in PHC form. It waits for its turn, or answers the error of ctx.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	made := hash{Params: h.params, salt: make([]byte, saltSize)}
	if _, err := rand.Read(made.salt); err != nil {
		return "", err
	}
	err := h.inTurn(ctx, h.params.Memory, func() { made.key = made.derive(password, keySize) })
	if err != nil {
		return "", err
	}
	return made.String(), nil
}

// Verify reports whether the password is the one of the hash, and whether the hash should be replaced:
// it is the bcrypt of earlier times, or cost less than hashes do now. It takes as long for a hash that
// nothing matches (None, or no hash at all) as for one of its own. It waits for its turn, or answers the
// error of ctx.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (matches, stale bool, err error) {
	if isBcrypt(encoded) {
		err := h.inTurn(ctx, h.params.Memory, func() { matches = verifyBcrypt(encoded, password) })
		// Of a longer one, bcrypt has not seen the rest, which may be mistyped.
		return matches, len(password) <= bcryptBytes, err
	}
	stored, err := parse(encoded)
	if err != nil {
		stored = h.decoy
	}
	unusable := err != nil
	err = h.inTurn(ctx, stored.Memory, func() {
		key := stored.derive(password, len(stored.key))
		matches = subtle.ConstantTimeCompare(key, stored.key) == 1 && !unusable
	})
	return matches, stored.costsLess(h.params), err
}

// Weak reports whether the hash is the bcrypt of earlier times, or one of Argon2id that costs less than
// params. What no password matches is not weak.
func Weak(encoded string, params Params) bool {
	if isBcrypt(encoded) {
		return true
	}
	stored, err := parse(encoded)
	return err == nil && stored.costsLess(params)
}

// Spend costs what Verify of the other kind of hash would: of bcrypt's after one of Argon2id's, or after
// none, and the other way round. Where both kinds are stored, a password that is wrong for one is
// followed by it, so that its time does not tell which kind that was, nor whether there was any.
func (h *Hasher) Spend(ctx context.Context, encoded, password string) error {
	other := bcryptDecoy
	if isBcrypt(encoded) {
		other = None
	}
	_, _, err := h.Verify(ctx, other, password)
	return err
}

// inTurn runs work when there is memory for it.
func (h *Hasher) inTurn(ctx context.Context, memory uint32, work func()) error {
	share := min(int64(memory), h.memory)
	if err := h.free.Acquire(ctx, share); err != nil {
		return err
	}
	defer h.free.Release(share)
	work()
	return nil
}

func (h hash) derive(password string, size int) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), h.salt, h.Time, h.Memory, h.Threads, uint32(size)) //nolint:gosec // A key has at most maxKey bytes.
}

// Known reports whether a password could match the hash: one of Argon2id in PHC form, or bcrypt's, within
// the bounds of what Verify takes.
func Known(encoded string) bool {
	if !isBcrypt(encoded) {
		_, err := parse(encoded)
		return err == nil
	}
	if len(encoded) != len(bcryptDecoy) || strings.IndexByte("aby", encoded[2]) < 0 || encoded[3] != '$' || encoded[6] != '$' {
		return false
	}
	for _, c := range []byte(encoded[7:]) {
		if strings.IndexByte(bcryptAlphabet, c) < 0 {
			return false
		}
	}
	cost, err := bcrypt.Cost([]byte(encoded))
	return err == nil && cost <= maxCost
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

const (
	maxCost     = 16 // keeps a bcrypt hash from costing more than seconds; the old application used 12
	bcryptBytes = 72 // of a password are all that bcrypt takes
	// bcryptDecoy costs what those of the old application do, and nothing is known to match it.
	bcryptDecoy = "$2b$12$....................................................."
)

func isBcrypt(encoded string) bool { return strings.HasPrefix(encoded, "$2") }

// verifyBcrypt takes the password as it was typed: the old application did not normalise it.
func verifyBcrypt(encoded, password string) bool {
	cost, err := bcrypt.Cost([]byte(encoded))
	// bcrypt takes the text after a NUL, and after a hash, for nothing.
	if err != nil || cost > maxCost || len(encoded) != len(bcryptDecoy) || strings.IndexByte(password, 0) >= 0 {
		return false
	}
	return bcrypt.CompareHashAndPassword([]byte(encoded), []byte(password)) == nil
}

var errMalformed = errors.New("not a hash of Argon2id in PHC form, or one outside the bounds")
