package password //nolint:testpackage // The semaphore is nobody else's to fill.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"
)

// cheap costs next to nothing.
var cheap = Params{Memory: 64, Time: 1, Threads: 1}

func newHasher(t testing.TB, params Params, memory int64) *Hasher {
	t.Helper()
	h, err := New(params, memory)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantVerify checks the answer of Verify.
func wantVerify(t *testing.T, h *Hasher, encoded, password string, matches, stale bool) {
	t.Helper()
	m, s, err := h.Verify(t.Context(), encoded, password)
	if err != nil || m != matches || s != stale {
		t.Errorf("%q with %q: matches %t, stale %t, %v; want %t, %t", encoded, password, m, s, err, matches, stale)
	}
}

func hashOf(t *testing.T, h *Hasher, password string) string {
	t.Helper()
	encoded, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestHasher(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	for _, password := range []string{
		"CorrectHorse9", "all lower case with spaces", "пароль на русском", "🦉🦉🦉🦉🦉🦉🦉🦉", " spaces count ", "a\x00b",
		strings.Repeat("x", 4096), "",
	} {
		encoded := hashOf(t, h, password)
		if !strings.HasPrefix(encoded, "$argon2id$v=19$m=64,t=1,p=1$") || len(encoded) > maxEncoded {
			t.Errorf("%q becomes %s", password, encoded)
		}
		wantVerify(t, h, encoded, password, true, false)
		for _, wrong := range []string{password + "x", password + " ", password + "\x00", "x" + password, strings.ToUpper(password) + "X"} {
			wantVerify(t, h, encoded, wrong, false, false)
		}
		if again := hashOf(t, h, password); again == encoded {
			t.Errorf("%q becomes the same hash twice", password)
		}
	}
}

// TestHasher_NoTruncation has passwords that differ in their last character.
func TestHasher_NoTruncation(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	for _, length := range []int{8, 71, 72, 73, 127, 128, 255, 4096} {
		same := strings.Repeat("я", length-1)
		wantVerify(t, h, hashOf(t, h, same+"а"), same+"б", false, false)
		wantVerify(t, h, hashOf(t, h, same+"а"), same, false, false)
	}
}

// TestHasher_Normalises types a password as a composed and as a decomposed text.
func TestHasher_Normalises(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	for composed, decomposed := range map[string]string{
		"r\u00e9sum\u00e9 caf\u00e9": "re\u0301sume\u0301 cafe\u0301",
		"\u212bngstr\u00f6m":         "A\u030angstro\u0308m",
		"\ud55c\uae00 \uc554\ud638":  "\u1112\u1161\u11ab\u1100\u1173\u11af \u110b\u1161\u11b7\u1112\u1169",
		"\u1eaf\u1ec7\u01b0\u1edbng": "a\u0306\u0301e\u0323\u0302\u01b0o\u031b\u0301ng",
	} {
		wantVerify(t, h, hashOf(t, h, composed), decomposed, true, false)
		wantVerify(t, h, hashOf(t, h, decomposed), composed, true, false)
	}
	wantVerify(t, h, hashOf(t, h, "ﬁle names"), "file names", false, false) // which NFKC would take for the same
}

func TestVerify_Stale(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Params{128, 2, 1}, 1024)
	for name, tt := range map[string]struct {
		params    Params
		salt, key int
		stale     bool
	}{
		"the same":    {Params{128, 2, 1}, saltSize, keySize, false},
		"more memory": {Params{256, 2, 1}, saltSize, keySize, false},
		"more of all": {Params{256, 3, 2}, saltSize, keySize, false},
		"more, less":  {Params{256, 1, 1}, saltSize, keySize, true},
		"less memory": {Params{64, 2, 1}, saltSize, keySize, true},
		"less time":   {Params{128, 1, 1}, saltSize, keySize, true},
		"short salt":  {Params{128, 2, 1}, 8, keySize, true},
		"short key":   {Params{128, 2, 1}, saltSize, 16, true},
		"longer both": {Params{128, 2, 1}, maxSalt, maxKey, false},
	} {
		made := ofSize(tt.params, tt.salt, tt.key)
		made.key = made.derive("CorrectHorse9", tt.key)
		t.Log(name)
		wantVerify(t, h, made.String(), "CorrectHorse9", true, tt.stale)
		wantVerify(t, h, made.String(), "correctHorse9", false, tt.stale)
	}
}

// TestVerify_Bcrypt has the vectors of Openwall's crypt_blowfish (wrapper.c), and a hash by the old application.
func TestWeak(t *testing.T) {
	t.Parallel()
	now := Params{Memory: 64, Time: 2, Threads: 1}
	for hash, want := range map[string]bool{
		"$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W":                                   true,
		"$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": true,
		"$argon2id$v=19$m=64,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA":            true, // with half the salt
		"$argon2id$v=19$m=64,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": false,
		None:             false,
		"no hash at all": false,
	} {
		if got := Weak(hash, now); got != want {
			t.Errorf("Weak(%q) is %t, want %t", hash, got, want)
		}
	}
}

func TestVerify_Bcrypt(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	const long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for _, tt := range []struct{ encoded, password string }{
		{"$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W", "CorrectHorse9"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"},
		{"$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a", "U*U*U"},
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy", ""},
		{"$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui", long},
		{"$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", "\xa3"},
		{"$2y$05$/OK.fbVrR/bpIqNJ5ianF.nRht2l/HRhr6zmCp9vYUvvsqynflf9e", "\xff\xa3345"},
		{"$2y$05$/OK.fbVrR/bpIqNJ5ianF.6IflQkJytoRVc1yuaNtHfiuq.FRlSIS", "\xa3ab"},
	} {
		wantVerify(t, h, tt.encoded, tt.password, true, true)
		if !strings.Contains(tt.encoded, "$12$") { // which takes long
			wantVerify(t, h, tt.encoded, "x"+tt.password, false, len(tt.password) < 72)
		}
	}
	for _, version := range []string{"2a", "2b", "2y"} { // The same below 256 bytes.
		wantVerify(t, h, "$"+version+"$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", true, true)
	}
}

// TestVerify_BcryptLong has a password whose end bcrypt does not see.
func TestVerify_BcryptLong(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	const encoded = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"
	const seen = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	wantVerify(t, h, encoded, seen, true, true)
	wantVerify(t, h, encoded, seen+"chars after 72 are ignored", true, false) // They must not become the password.
	wantVerify(t, h, encoded, seen[:71], false, true)
	wantVerify(t, h, encoded, seen[:71]+"x", false, true)
	wantVerify(t, h, encoded, seen[:71]+"x"+"chars after 72 are ignored", false, false)
}

// TestSpend tells the kinds of hashes by their memory: bcrypt takes next to none.
func TestSpend(t *testing.T) { //nolint:paralleltest // It counts what is allocated.
	params := Params{8 * 1024, 1, 1}
	h := newHasher(t, params, int64(params.Memory))
	for encoded, argon2id := range map[string]bool{
		None:                   false,
		hashOf(t, h, "a pony"): false,
		"$2b$12$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W": true,
	} {
		for range 2 {
			bytes := allocated(func() {
				if err := h.Spend(t.Context(), encoded, "a horse"); err != nil {
					t.Error(err)
				}
			})
			if took := bytes >= 1024*uint64(params.Memory); took != argon2id {
				t.Errorf("after %.7s, it allocated %d bytes; of Argon2id: %t", encoded, bytes, argon2id)
			}
		}
	}
}

// TestVerify_BcryptAsTyped holds that bcrypt gets the bytes that the old application got.
func TestVerify_BcryptAsTyped(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	for _, password := range []string{"caf\u00e9 au lait", "cafe\u0301 au lait"} {
		encoded, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		wantVerify(t, h, string(encoded), password, true, true)
	}
}

// TestVerify_BcryptNUL has a password that bcrypt takes for another one: it repeats the password and the NUL after
// it until it has 72 bytes.
func TestVerify_BcryptNUL(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	const encoded = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	wantVerify(t, h, encoded, "U*U\x00U*U", false, true)
}

// TestVerify_BcryptLonger has text after a hash of bcrypt.
func TestVerify_BcryptLonger(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	wantVerify(t, h, "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWx", "U*U", false, true)
}

// hostile values of hashed_password. None of them matches anything.
func hostile() map[string]string {
	const b = "$2b$04$pA1IBqFEY2Iky0k6haFJAeUe0YVZTdQBItSVZgQsUC25WsvcEZd4W"
	with := func(old, new string) string { return strings.Replace(someHash, old, new, 1) }
	return map[string]string{
		"nothing":                 "",
		"no password":             None,
		"the password itself":     "CorrectHorse9",
		"a huge memory":           with("m=64", "m=4294967295"),
		"more memory than is had": with("m=64", "m=1048577"),
		"time 0":                  with("t=1", "t=0"),
		"a huge time":             with("t=1", "t=4294967295"),
		"threads 0":               with("p=1", "p=0"),
		"no salt":                 with(someSalt, "$"),
		"no key":                  with(someKey, "$"),
		"only zeros for a key":    someHash, // which is what a decoy has
		"Argon2i":                 with("argon2id", "argon2i"),
		"cut":                     someHash[:len(someHash)/2],
		"many dollars":            strings.Repeat("$", maxEncoded),
		"bcrypt, cost 31":         strings.Replace(b, "$04$", "$31$", 1),
		"bcrypt, cost 17":         "$2a$17$JbAuVkv7vMpKN5KaoDDGVeHzASKXV63CDe.87/FSDfDERUXKCA0RG", // of CorrectHorse9
		"bcrypt, cost 99":         strings.Replace(b, "$04$", "$99$", 1),
		"bcrypt, cost 0":          strings.Replace(b, "$04$", "$00$", 1),
		"bcrypt, cost -1":         strings.Replace(b, "$04$", "$-1$", 1),
		"bcrypt, no cost":         strings.Replace(b, "$04$", "$xx$", 1),
		"bcrypt, cut":             b[:40],
		"bcrypt, cut by one":      b[:59],
		"bcrypt, nothing":         "$2",
		"bcrypt, its version":     "$2b$",
		"bcrypt, no salt":         strings.Replace(b, "pA1I", "p***", 1),
		"bcrypt, version 3":       strings.Replace(b, "$2b", "$3b", 1),
		"scrypt":                  "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
		"invalid UTF-8":           "\xff\xfe",
	}
}

// TestVerify_Hostile is not parallel, since it counts what the process allocates.
//
//nolint:paralleltest // See above.
func TestVerify_Hostile(t *testing.T) {
	h := newHasher(t, cheap, 64)
	for name, encoded := range hostile() {
		n := allocated(func() {
			for _, password := range []string{"CorrectHorse9", "", encoded} {
				matches, _, err := h.Verify(t.Context(), encoded, password)
				if err != nil || matches {
					t.Errorf("%s: matches %t, %v", name, matches, err)
				}
			}
		})
		if most := uint64(3 * (cheap.Memory + 32) << 10); n > most {
			t.Errorf("%s: three tries allocate %d bytes, more than %d", name, n, most)
		}
	}
}

// TestVerify_DecoyMatchesNothing gives the decoy a key that has a password.
func TestVerify_DecoyMatchesNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	h.decoy.key = h.decoy.derive("CorrectHorse9", keySize)
	for _, encoded := range []string{None, "", "hash"} {
		wantVerify(t, h, encoded, "CorrectHorse9", false, false)
	}
}

// TestVerify_CostsWithoutHash holds that an account without a password costs what others do.
//
//nolint:paralleltest // It counts what the process allocates.
func TestVerify_CostsWithoutHash(t *testing.T) {
	h := newHasher(t, Params{1024, 1, 1}, 1024)
	with := hashOf(t, h, "CorrectHorse9")
	for name, encoded := range map[string]string{"a hash": with, "no password": None, "nothing": "", "no hash": "hash"} {
		n := allocated(func() { wantVerify(t, h, encoded, "wrong", false, false) })
		if n < 1<<20 || n > 1<<20+32<<10 {
			t.Errorf("%s: a try allocates %d bytes, want those of one hash, %d", name, n, 1<<20)
		}
	}
}

// verifyHostile fails if a value that is not a hash of Argon2id matches, or makes Verify panic.
func verifyHostile(t *testing.T, encoded string) {
	t.Helper()
	if cost, err := bcrypt.Cost([]byte(encoded)); err == nil && cost > bcrypt.MinCost && cost <= maxCost {
		return // It is tested, and would cost the fuzzer its time.
	}
	h := newHasher(t, Params{8, 1, 1}, 8)
	if matches, _, err := h.Verify(t.Context(), encoded, "CorrectHorse9"); err != nil || matches {
		t.Errorf("%q: matches %t, %v", encoded, matches, err)
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		params Params
		memory int64
		ok     bool
	}{
		{Default, 19 * 1024, true},
		{Default, 19*1024 - 1, false},
		{Default, 0, false},
		{Default, -1, false},
		{Params{}, 1 << 20, false},
		{Params{Memory: 1<<20 + 1, Time: 1, Threads: 1}, 1 << 30, false},
		{Params{Memory: 64, Time: 0, Threads: 1}, 64, false},
		{Params{Memory: 64, Time: 1, Threads: 0}, 64, false},
	} {
		if _, err := New(tt.params, tt.memory); (err == nil) != tt.ok {
			t.Errorf("%+v within %d KiB: %v", tt.params, tt.memory, err)
		}
	}
}

// TestHasher_AtOnce counts what runs at once: all callers are in their turn, or wait.
func TestHasher_AtOnce(t *testing.T) {
	t.Parallel()
	for _, slots := range []int{1, 2, 7} {
		synctest.Test(t, func(t *testing.T) {
			h := newHasher(t, cheap, int64(slots)*int64(cheap.Memory)+63) // and a rest that is too little for another one
			var running, finished atomic.Int64
			next := make(chan struct{})
			const callers = 20
			for range callers {
				go func() {
					err := h.inTurn(t.Context(), cheap.Memory, func() {
						running.Add(1)
						<-next
						running.Add(-1)
					})
					if err != nil {
						t.Error(err)
					}
					finished.Add(1)
				}()
			}
			for done := range callers {
				synctest.Wait()
				if got, want := running.Load(), int64(min(slots, callers-done)); got != want || finished.Load() != int64(done) {
					t.Errorf("%d run at once with %d finished, want %d and %d", got, finished.Load(), want, done)
				}
				next <- struct{}{}
			}
		})
	}
}

// uses are all ways to have a hash computed, by what each takes of the memory, in parts of 64 KiB.
func uses(t *testing.T) map[string]func(ctx context.Context, h *Hasher) error {
	t.Helper()
	verify := func(encoded string) func(ctx context.Context, h *Hasher) error {
		return func(ctx context.Context, h *Hasher) error {
			_, _, err := h.Verify(ctx, encoded, "CorrectHorse9")
			return err
		}
	}
	return map[string]func(ctx context.Context, h *Hasher) error{
		"Hash": func(ctx context.Context, h *Hasher) error {
			_, err := h.Hash(ctx, "CorrectHorse9")
			return err
		},
		"Verify":                       verify(someHash),
		"Verify without a password":    verify(None),
		"Verify of bcrypt":             verify("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
		"Verify of a hash that is big": verify(ofSize(Params{4096, 1, 1}, saltSize, keySize).String()),
	}
}

// TestHasher_Waits fills the memory, so that whoever comes has to wait: until there is some, or until the
// context ends.
func TestHasher_Waits(t *testing.T) {
	t.Parallel()
	reason := errors.New("the request was cancelled")
	for name, use := range uses(t) {
		for _, cancelled := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, cancelled %t", name, cancelled), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newHasher(t, cheap, 128)
					if err := h.free.Acquire(t.Context(), 128); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					answer := make(chan error, 1)
					go func() { answer <- use(ctx, h) }()
					synctest.Wait()
					select {
					case err := <-answer:
						t.Fatalf("it did not wait, and answered %v", err)
					default:
					}
					if cancelled {
						cancel(reason)
						if err := <-answer; !errors.Is(err, context.Canceled) {
							t.Errorf("whoever waited got %v", err)
						}
						h.free.Release(128)
					} else {
						h.free.Release(128)
						if err := <-answer; err != nil {
							t.Errorf("whoever waited got %v", err)
						}
						cancel(nil)
					}
					if !h.free.TryAcquire(128) {
						t.Error("the memory was not given back")
					}
				})
			})
		}
	}
}

// TestHasher_Ended has a context that has ended before.
func TestHasher_Ended(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, use := range uses(t) {
		if err := use(ctx, newHasher(t, cheap, 64)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s answers %v", name, err)
		}
	}
}

// TestVerify_BigAlone holds that a hash which asks for more than all memory has it alone.
func TestVerify_BigAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, cheap, 128)
		if err := h.free.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		answer := make(chan bool, 1)
		made := ofSize(Params{4096, 1, 1}, saltSize, keySize)
		made.key = made.derive("CorrectHorse9", keySize)
		go func() {
			matches, _, err := h.Verify(t.Context(), made.String(), "CorrectHorse9")
			answer <- matches && err == nil
		}()
		synctest.Wait()
		if len(answer) != 0 {
			t.Error("it did not wait")
		}
		h.free.Release(1)
		if !<-answer {
			t.Error("it does not match")
		}
	})
}

// TestHasher_ReleasesAfterPanic holds that a panic in the work leaves the memory to others.
func TestHasher_ReleasesAfterPanic(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap, 64)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = h.inTurn(t.Context(), 64, func() { panic("boom") })
	}()
	if !h.free.TryAcquire(64) {
		t.Error("the memory was not given back")
	}
}

// TestKnown holds that a hash is known if a password can match it, and not if none can.
func TestKnown(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Params{64, 1, 1}, 64)
	made, err := h.Hash(t.Context(), "a long horse")
	if err != nil {
		t.Fatal(err)
	}
	generated, err := bcrypt.GenerateFromPassword([]byte("a long horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	old := string(generated)
	for _, encoded := range []string{made, old, "$2b" + old[3:], "$2y" + old[3:]} {
		if matches, _, err := h.Verify(t.Context(), encoded, "a long horse"); !matches || err != nil || !Known(encoded) {
			t.Errorf("%s: it matches: %t, %v, and is known: %t", encoded, matches, err, Known(encoded))
		}
	}
	for _, encoded := range []string{
		"", None, "hunter2", "$", "$2", "$2b$12$", "$5$rounds=5000$salt$hash", "pbkdf2_sha256$600000$salt$hash",
		made + "=", " " + made, "$argon2i" + made[len("$argon2id"):], strings.Replace(made, "m=64", "m=4194304", 1),
		old + "x", old[:59], "$2$" + old[3:], "$2b$99" + old[6:], "$2b$17" + old[6:], "$2b$03" + old[6:], old[:59] + "!",
	} {
		if matches, _, _ := h.Verify(t.Context(), encoded, "a long horse"); matches || Known(encoded) {
			t.Errorf("%q: it matches: %t, and is known: %t", encoded, matches, Known(encoded))
		}
	}
	for _, encoded := range []string{"$2x" + old[3:], old[:6] + "." + old[7:], "$2b." + old[4:]} { // which Verify takes for others
		if Known(encoded) {
			t.Errorf("%q is known", encoded)
		}
	}
}
