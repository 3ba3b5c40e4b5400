package password //nolint:testpackage // Hashes are read by nobody else.

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

// ofSize is a hash whose salt and key are of zeros.
func ofSize(params Params, salt, key int) hash {
	return hash{Params: params, salt: make([]byte, salt), key: make([]byte, key)}
}

func TestParse_ReadsWhatStringWrites(t *testing.T) {
	t.Parallel()
	params := []Params{
		Default, {8, 1, 1}, {maxMemory, 4, 1}, {maxWork / maxTime, maxTime, 1},
		{8 * maxThreads, 1, maxThreads}, {9, 10, 1}, {100, 1, 10},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, p := range params {
		for _, salt := range []int{minSalt, 9, saltSize, maxSalt} {
			for _, key := range []int{minKey, 17, keySize, maxKey} {
				want := ofSize(p, salt, key)
				for i := range want.salt {
					want.salt[i] = byte(random.Uint32())
				}
				for i := range want.key {
					want.key[i] = byte(random.Uint32())
				}
				got, err := parse(want.String())
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s is read as %s, %v", want, got, err)
				}
			}
		}
	}
}

// TestParse_KnownAnswers has the vectors of the reference implementation of Argon2 (P-H-C/phc-winner-argon2,
// src/test.c, version 0x13), less those that only cost more.
func TestParse_KnownAnswers(t *testing.T) {
	t.Parallel()
	for encoded, password := range map[string]string{
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4":   "password",
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc":   "password",
		"$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$9qWtwbpyPd3vm1rB1GThgPzZ3/ydHL92zKL+15XZypg": "password",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94": "differentpassword",
		"$argon2id$v=19$m=65536,t=2,p=1$ZGlmZnNhbHQ$vfMrBczELrFdWP0ZsfhWsRPaHppYdP3MVEMIVlqoFBw": "password",
	} {
		h, err := parse(encoded)
		if err != nil {
			t.Errorf("%s is not read: %v", encoded, err)
			continue
		}
		if key := h.derive(password, len(h.key)); !bytes.Equal(key, h.key) {
			t.Errorf("%s: the key of its password is %x", encoded, key)
		}
		if key := h.derive(password+"x", len(h.key)); bytes.Equal(key, h.key) {
			t.Errorf("%s: another password has its key", encoded)
		}
	}
}

func TestHash_IsOfArgon2id(t *testing.T) {
	t.Parallel()
	for _, params := range []Params{{64, 1, 1}, {64, 3, 4}} {
		h := newHasher(t, params, 64)
		encoded, err := h.Hash(t.Context(), "a plain phrase")
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(encoded, "$")
		salt, err := base64.RawStdEncoding.DecodeString(parts[4])
		if err != nil {
			t.Fatal(err)
		}
		key := argon2.IDKey([]byte("a plain phrase"), salt, params.Time, params.Memory, params.Threads, keySize)
		if want := base64.RawStdEncoding.EncodeToString(key); parts[5] != want || len(salt) != saltSize {
			t.Errorf("%s has another key than %s", encoded, want)
		}
	}
}

const (
	someSalt = "$AAAAAAAAAAAAAAAAAAAAAA"
	someKey  = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	someHash = "$argon2id$v=19$m=64,t=1,p=1" + someSalt + someKey
)

// TestParse_Refuses changes one thing in a hash that is fine.
func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	if _, err := parse(someHash); err != nil {
		t.Fatal(err)
	}
	changed := func(old, with string) string {
		t.Helper()
		if !strings.Contains(someHash, old) {
			t.Fatalf("no %s in %s", old, someHash)
		}
		return strings.Replace(someHash, old, with, 1)
	}
	for name, encoded := range map[string]string{
		"nothing":                   "",
		"no password":               None,
		"no hash":                   "hash",
		"dollars":                   strings.Repeat("$", 5),
		"many dollars":              strings.Repeat("$", 1000),
		"bcrypt":                    "$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W",
		"Argon2i":                   changed("argon2id", "argon2i"),
		"Argon2d":                   changed("argon2id", "argon2d"),
		"capitals":                  changed("argon2id", "Argon2id"),
		"version 16":                changed("v=19", "v=16"),
		"version 20":                changed("v=19", "v=20"),
		"version 019":               changed("v=19", "v=019"),
		"no version":                changed("$v=19", ""),
		"another order":             changed("m=64,t=1,p=1", "t=1,m=64,p=1"),
		"a parameter too many":      changed("p=1", "p=1,keyid=a"),
		"a parameter twice":         changed("t=1", "t=1,t=1"),
		"a parameter too few":       changed(",p=1", ""),
		"zero before":               changed("m=64", "m=064"),
		"zero before the time":      changed("t=1", "t=01"),
		"zero before the threads":   changed("p=1", "p=01"),
		"plus":                      changed("m=64", "m=+64"),
		"minus":                     changed("t=1", "t=-1"),
		"hexadecimal":               changed("m=64", "m=0x40"),
		"underscore":                changed("m=64", "m=6_4"),
		"fraction":                  changed("m=64", "m=64.0"),
		"space before a number":     changed("m=64", "m= 64"),
		"space after a comma":       changed(",t=1", ", t=1"),
		"space before":              " " + someHash,
		"space after":               someHash + " ",
		"line break after":          someHash + "\n",
		"line break in the salt":    changed("$AAAA", "$AA\nAA"),
		"line break in parameters":  changed("p=1", "p=1\n"),
		"text after the parameters": changed("p=1", "p=1x"),
		"text before":               "x" + someHash,
		"another $":                 someHash + "$",
		"a $ too few":               strings.TrimPrefix(someHash, "$"),
		"a salt too many":           changed(someSalt, someSalt+someSalt),
		"padding of the salt":       changed(someSalt, someSalt+"=="),
		"padding of the key":        someHash + "=",
		"bits left over in salt":    changed(someSalt, strings.TrimSuffix(someSalt, "A")+"B"),
		"bits left over in key":     strings.TrimSuffix(someHash, "A") + "B",
		"URL alphabet":              changed("$AAAA", "$AA-_"),
		"no base64":                 changed("$AAAA", "$AA*A"),
		"one character left over":   someHash + "AA",
		"NUL":                       someHash + "\x00",
		"invalid UTF-8":             changed("$AAAA", "$AA\xffA"),
		"memory 0":                  changed("m=64", "m=0"),
		"memory over 32 bits":       changed("m=64", "m=4294967360"),
		"memory over 64 bits":       changed("m=64", "m=18446744073709551680"),
		"many digits":               changed("m=64", "m="+strings.Repeat("9", 100)),
		"time 0":                    changed("t=1", "t=0"),
		"time over 32 bits":         changed("t=1", "t=4294967297"),
		"threads 0":                 changed("p=1", "p=0"),
		"threads over 8 bits":       changed("p=1", "p=257"),
		"longer than the column":    someHash + strings.Repeat("A", 255),
	} {
		if h, err := parse(encoded); err != errMalformed { //nolint:errorlint // the very error, which holds nothing else
			t.Errorf("%s: %q is read as %s, %v", name, encoded, h, err)
		}
	}
}

func TestParse_Bounds(t *testing.T) {
	t.Parallel()
	salt, key := saltSize, keySize
	for name, tt := range map[string]struct {
		params    Params
		salt, key int
		ok        bool
	}{
		"least memory":             {Params{8, 1, 1}, salt, key, true},
		"below":                    {Params{7, 1, 1}, salt, key, false},
		"least for 64 threads":     {Params{512, 1, 64}, salt, key, true},
		"below for 64":             {Params{511, 1, 64}, salt, key, false},
		"most threads":             {Params{4096, 1, 64}, salt, key, true},
		"above threads":            {Params{4096, 1, 65}, salt, key, false},
		"most memory":              {Params{1 << 20, 4, 1}, salt, key, true},
		"above memory":             {Params{1<<20 + 1, 1, 1}, salt, key, false},
		"all memory there is":      {Params{math.MaxUint32, 1, 1}, salt, key, false},
		"most time":                {Params{1 << 16, 64, 1}, salt, key, true},
		"above time":               {Params{8, 65, 1}, salt, key, false},
		"all time there is":        {Params{8, math.MaxUint32, 1}, salt, key, false},
		"above the product":        {Params{1 << 20, 5, 1}, salt, key, false},
		"by a little":              {Params{1<<16 + 1, 64, 1}, salt, key, false},
		"a product that overflows": {Params{1 << 16, 1 << 16, 1}, salt, key, false},
		"least salt":               {Params{8, 1, 1}, 8, key, true},
		"below salt":               {Params{8, 1, 1}, 7, key, false},
		"no salt":                  {Params{8, 1, 1}, 0, key, false},
		"most salt":                {Params{8, 1, 1}, 64, key, true},
		"above salt":               {Params{8, 1, 1}, 65, key, false},
		"least key":                {Params{8, 1, 1}, salt, 16, true},
		"below key":                {Params{8, 1, 1}, salt, 15, false},
		"no key":                   {Params{8, 1, 1}, salt, 0, false},
		"most key":                 {Params{8, 1, 1}, salt, 64, true},
		"above key":                {Params{8, 1, 1}, salt, 65, false},
	} {
		encoded := ofSize(tt.params, tt.salt, tt.key).String()
		if _, err := parse(encoded); (err == nil) != tt.ok {
			t.Errorf("%s: %s answers %v", name, encoded, err)
		}
	}
	most := ofSize(Params{maxWork / maxTime, maxTime, maxThreads}, maxSalt, maxKey).String()
	if len(most) > maxEncoded {
		t.Errorf("the longest hash has %d characters, more than its column: %s", len(most), most)
	}
}

// allocated is how many bytes do allocates. Nothing else must run meanwhile.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestParse_AllocatesLittle is not parallel, since it counts what the process allocates.
//
//nolint:paralleltest // See above.
func TestParse_AllocatesLittle(t *testing.T) {
	for name, encoded := range map[string]string{
		"fine":            someHash,
		"a huge memory":   strings.Replace(someHash, "m=64", "m=4294967295", 1),
		"the most memory": strings.Replace(someHash, "m=64", "m=1048576", 1),
		"a long number":   strings.Replace(someHash, "m=64", "m="+strings.Repeat("9", 180), 1),
		"as long as rows": strings.Repeat("A", maxEncoded),
		"a long salt":     "$argon2id$v=19$m=64,t=1,p=1$" + strings.Repeat("A", 180) + "$A",
	} {
		if n := allocated(func() { _, _ = parse(encoded) }); n > 16<<10 {
			t.Errorf("%s: reading allocates %d bytes", name, n)
		}
	}
}

// FuzzParse holds that what is read is written alike and within the bounds, that what is not read shows
// nothing, and that no stored value makes Verify panic or match.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", None, someHash, "$2b$04$", "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		ofSize(Default, saltSize, keySize).String(), ofSize(Params{512, 1, 64}, maxSalt, maxKey).String(),
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", strings.Repeat("$", 5),
		"$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=+8,t=01,p=1$AAAAAAAAAAB$AAAAAAAAAAAAAAAAAAAAAB=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		h, err := parse(encoded)
		if err != nil {
			if !errors.Is(err, errMalformed) || err.Error() != errMalformed.Error() {
				t.Errorf("%q answers %v", encoded, err)
			}
			verifyHostile(t, encoded)
			return
		}
		if h.String() != encoded {
			t.Errorf("%q is written as %q", encoded, h)
		}
		if len(encoded) > 255 || h.Threads < 1 || h.Threads > 64 || h.Time < 1 || h.Time > 64 ||
			h.Memory < 8*uint32(h.Threads) || h.Memory > 1<<20 || uint64(h.Memory)*uint64(h.Time) > 4<<20 ||
			len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 {
			t.Errorf("%q is outside the bounds", encoded)
		}
	})
}
