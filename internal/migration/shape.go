package migration

import (
	"fmt"
	"strings"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
)

// shape is what a type can hold.
type shape struct {
	family      string
	size, scale int // bits, digits or characters; 0 characters or digits are any number
	zone        bool
}

// loses reports whether a value of the one type may not fit into the other. The types of SQLite bind
// nothing, but tell what a program will read.
func loses(from, to schema.Type, anySize bool) bool {
	a, b := shapeOf(from, anySize), shapeOf(to, anySize)
	switch {
	case a.family == b.family:
		switch a.family {
		case "integer", "float", "time", "timestamp":
			return b.size < a.size || a.zone && !b.zone
		case "decimal":
			return b.size != 0 && (a.size == 0 || b.scale < a.scale || b.size-b.scale < a.size-a.scale)
		case "text":
			return b.size != 0 && (a.size == 0 || b.size < a.size)
		default:
			return false
		}
	case b.family == "text":
		width := a.width()
		return b.size != 0 && (width == 0 || b.size < width)
	case a.family == "integer" && b.family == "decimal":
		return b.size != 0 && b.size-b.scale < a.digits()
	case a.family == "integer" && b.family == "float":
		return b.size < a.size
	case a.family == "decimal" && b.family == "integer":
		return a.scale > 0 || a.size == 0 || a.size >= b.digits()
	default:
		return (a.family != "date" || b.family != "timestamp") && (a.family != "bool" || b.family != "integer")
	}
}

// digits is how many an integer may have.
func (s shape) digits() int { return map[int]int{16: 5, 32: 10, 64: 19}[s.size] }

// width is how many characters a value has at most, or 0 if that is not known.
func (s shape) width() int {
	switch s.family {
	case "integer":
		return s.digits() + 1
	case "bool":
		return len("false")
	case "uuid":
		return 36
	case "date":
		return len("2006-01-02")
	default:
		return 0
	}
}

func shapeOf(of schema.Type, anySize bool) shape {
	switch of := of.(type) {
	case *schema.IntegerType:
		return integerShape(of.T, anySize)
	case *postgres.SerialType:
		return integerShape(of.T, anySize)
	case *schema.FloatType:
		if name := strings.ToLower(of.T); !anySize && (name == postgres.TypeReal || name == postgres.TypeFloat4) {
			return shape{family: "float", size: 24}
		}
		return shape{family: "float", size: 53}
	case *schema.DecimalType:
		return shape{family: "decimal", size: of.Precision, scale: of.Scale}
	case *schema.StringType:
		return shape{family: "text", size: of.Size}
	case *schema.TimeType:
		return timeShape(of)
	case *schema.BoolType:
		return shape{family: "bool"}
	case *schema.UUIDType:
		return shape{family: "uuid"}
	case *schema.JSONType:
		return shape{family: "json"}
	case *schema.BinaryType:
		return shape{family: "binary"}
	case *schema.EnumType:
		return shape{family: "enum " + of.T}
	default:
		return shape{family: fmt.Sprintf("%T", of)}
	}
}

func integerShape(name string, anySize bool) shape {
	switch name = strings.ToLower(name); {
	case anySize:
		return shape{family: "integer", size: 64}
	case strings.HasPrefix(name, "small"), name == postgres.TypeInt2:
		return shape{family: "integer", size: 16}
	case strings.HasPrefix(name, "big"), name == postgres.TypeInt8:
		return shape{family: "integer", size: 64}
	default:
		return shape{family: "integer", size: 32}
	}
}

func timeShape(of *schema.TimeType) shape {
	found := shape{family: "timestamp", size: 6}
	if of.Precision != nil {
		found.size = *of.Precision
	}
	switch name := strings.ToLower(of.T); {
	case name == postgres.TypeDate:
		found = shape{family: "date"}
	case strings.HasPrefix(name, "time") && !strings.HasPrefix(name, "timestamp"):
		found.family, found.zone = "time", strings.Contains(name, "tz") || strings.Contains(name, "with time zone")
	default:
		found.zone = strings.Contains(name, "tz") || strings.Contains(name, "with time zone")
	}
	return found
}
