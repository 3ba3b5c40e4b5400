package jsonobject_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/reviewpoint/models/internal/jsonobject"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		`{}`:                              `{}`,
		`{ "b" : [1.50, 1E3] ,"a":null }`: `{"a":null,"b":[1.5,1000]}`,
		`{"a":9007199254740993}`:          `{"a":9007199254740993}`,
		`{"a":-0,"b":-0.0,"c":0e-99}`:     `{"a":0,"b":0,"c":0}`,
		`{"a":100000000000000000000}`:     `{"a":100000000000000000000}`,
		`{"a":1000000000000000000000}`:    `{"a":1e+21}`,
		`{"a":12345678901234567890123}`:   `{"a":1.2345678901234567890123e+22}`,
		`{"a":0.000001,"b":0.0000001}`:    `{"a":0.000001,"b":1e-7}`,
		`{"a":-12.3400e-1}`:               `{"a":-1.234}`,
		`{"a":0.10000000000000000555}`:    `{"a":0.10000000000000000555}`,
		`{"a":"<é\u00e9\ud83d\ude00>"}`:   `{"a":"\u003céé😀\u003e"}`,
		`{"a":1,"a":2}`:                   `{"a":2}`,
		`{"a":1e999}`:                     ``,
		`{"a":1e-999}`:                    ``,
		`{"a":1e99999999999999999999}`:    ``,
		`{"a":-0}{}`:                      ``,
		`[-0]`:                            ``,
		`null`:                            ``,
		`{"a":-0`:                         ``,
	} {
		got, err := jsonobject.Canonical(document)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s is %s (%v), want %s", document, got, err, want)
		}
	}
}

// TestCanonical_Floats holds that what encoding/json writes is canonical, so that what the client stores is.
func TestCanonical_Floats(t *testing.T) {
	t.Parallel()
	for range 100_000 {
		number := math.Float64frombits(rand.Uint64())
		if math.IsNaN(number) || math.IsInf(number, 0) {
			continue
		}
		for _, number := range []float64{number, math.Round(number*1e6) / 1e6, float64(rand.IntN(1e6)) / 1000} {
			text, err := json.Marshal(map[string]any{"a": number})
			if err != nil || number == 0 { // infinite by now, or perhaps -0
				continue
			}
			if got, err := jsonobject.Canonical(string(text)); got != string(text) || err != nil {
				t.Fatalf("%s is %s (%v)", text, got, err)
			}
		}
	}
}
