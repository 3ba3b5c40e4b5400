package password

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Params are what Argon2id costs.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes over the memory
	Threads uint8  // lanes that are computed side by side
}

// Default is the least that OWASP advises (Password Storage Cheat Sheet, 2024): 19 MiB, t=2, p=1.
var Default = Params{Memory: 19 * 1024, Time: 2, Threads: 1}

// Bounds of a hash, whether it is made or found in a row. The least are those of RFC 9106, 3.1. The most
// keep one row from taking all memory or many seconds; the RFC's second recommended option uses 64 MiB.
const (
	minMemoryPerThread = 8
	maxMemory          = 1 << 20 // 1 GiB
	maxTime            = 64
	maxThreads         = 64
	maxWork            = 4 << 20 // KiB over all passes: some seconds
	minSalt, maxSalt   = 8, 64
	minKey, maxKey     = 16, 64
	saltSize           = 16 // RFC 9106, 3.1: recommended for password hashing
	keySize            = 32
)

func (p Params) check() error {
	if p.Threads < 1 || p.Threads > maxThreads || p.Time < 1 || p.Time > maxTime ||
		p.Memory < minMemoryPerThread*uint32(p.Threads) || p.Memory > maxMemory ||
		uint64(p.Memory)*uint64(p.Time) > maxWork {
		return fmt.Errorf("memory %d KiB, time %d, threads %d: Argon2id takes 8 KiB a thread to %d KiB, a time of 1 to %d, 1 to %d threads, and %d KiB times passes at most",
			p.Memory, p.Time, p.Threads, maxMemory, maxTime, maxThreads, maxWork)
	}
	return nil
}

// AtLeast reports whether no parameter is less than that of other.
func (p Params) AtLeast(other Params) bool {
	return p.Memory >= other.Memory && p.Time >= other.Time && p.Threads >= other.Threads
}

// hash is a hash with what it was made from, less the password.
type hash struct {
	Params

	salt, key []byte
}

// costsLess reports whether it costs an attacker less than a hash that is made now.
func (h hash) costsLess(params Params) bool {
	return !h.AtLeast(params) || len(h.salt) < saltSize || len(h.key) < keySize
}

// String is the PHC form: $argon2id$v=19$m=19456,t=2,p=1$salt$key
// (https://github.com/P-H-C/phc-string-format).
func (h hash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.Memory, h.Time, h.Threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parse reads what String writes, and nothing else. It returns errMalformed, which shows nothing of the hash.
func parse(encoded string) (hash, error) {
	var h hash
	parts := strings.Split(encoded, "$")
	if len(encoded) > maxEncoded || len(parts) != 6 {
		return h, errMalformed
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.Memory, &h.Time, &h.Threads); err != nil || h.check() != nil {
		return h, errMalformed
	}
	var errSalt, errKey error
	h.salt, errSalt = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, errKey = base64.RawStdEncoding.DecodeString(parts[5])
	sized := len(h.salt) >= minSalt && len(h.salt) <= maxSalt && len(h.key) >= minKey && len(h.key) <= maxKey
	if errSalt != nil || errKey != nil || !sized || h.String() != encoded {
		return h, errMalformed
	}
	return h, nil
}

// maxEncoded is the length of users.hashed_password.
const maxEncoded = 255
