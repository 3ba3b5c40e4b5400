package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

var (
	errNoObject = errors.New("must be a JSON object")
	errNumber   = errors.New("holds a number that no float64 comes near, or of more than 1000 characters")
)

// Decode reads one JSON object and keeps each number as it is: a float64 where that is exact, or else a
// json.Number in the form that encoding/json gives to floats, with all its digits. Of a key that is there
// twice the last value counts.
func Decode(document []byte) (map[string]any, error) {
	var object map[string]any
	if exact(document) {
		if json.Unmarshal(document, &object) != nil || object == nil {
			return nil, errNoObject
		}
		return object, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil || object == nil {
		return nil, errNoObject
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	_, err := numbers(object)
	return object, err
}

// Canonical is the one text of all documents that say the same as a JSON object: keys in order, no
// spaces, escapes as encoding/json has them, and numbers as Decode has them: 1.50 is 1.5, and 1e3 is 1000.
func Canonical(document string) (string, error) {
	object, err := Decode([]byte(document))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(object)
	return string(text), err
}

// exact reports whether all numbers are the same as a float64: those of up to 15 digits are. Zero has no sign.
func exact(document []byte) bool {
	run := 0
	for _, c := range document {
		if c != '.' && (c < '0' || c > '9') {
			run = 0
		} else if run++; run > 15 {
			return false
		}
	}
	return !bytes.Contains(document, []byte("-0")) && !bytes.Contains(document, []byte("e-")) && !bytes.Contains(document, []byte("E-"))
}

func numbers(value any) (_ any, err error) {
	switch value := value.(type) {
	case json.Number:
		return number(string(value))
	case []any:
		for i := range value {
			if value[i], err = numbers(value[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range value {
			if value[key], err = numbers(value[key]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// number is a float64, or a json.Number where that would lose digits.
func number(text string) (any, error) {
	digits, err := canonicalNumber(text)
	if err != nil {
		return nil, err
	}
	float, err := digits.Float64()
	if err != nil {
		return nil, errNumber
	}
	if written, err := json.Marshal(float); err != nil || string(written) != digits.String() {
		return digits, nil //nolint:nilerr // The digits are there all the same.
	}
	return float, nil
}

// canonicalNumber writes a number as encoding/json writes a float, but with all its digits.
func canonicalNumber(text string) (json.Number, error) {
	if _, err := strconv.ParseFloat(text, 64); err != nil || len(text) > 1000 {
		return "", errNumber
	}
	mantissa, power := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		if power, err = strconv.Atoi(text[i+1:]); err != nil {
			return "", errNumber
		}
		mantissa = text[:i]
	}
	unsigned, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(unsigned, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	point := len(digits) - len(fraction) + power // The value is 0.digits times ten to the power of point.
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return "0", nil
	}
	if point < -330 {
		return "", errNumber
	}
	sign := ""
	if negative {
		sign = "-"
	}
	switch {
	case point <= -6 || point > 21:
		if len(digits) > 1 {
			digits = digits[:1] + "." + digits[1:]
		}
		return json.Number(fmt.Sprintf("%s%se%+d", sign, digits, point-1)), nil
	case point <= 0:
		digits = "0." + strings.Repeat("0", -point) + digits
	case point < len(digits):
		digits = digits[:point] + "." + digits[point:]
	default:
		digits += strings.Repeat("0", point-len(digits))
	}
	return json.Number(sign + digits), nil
}
