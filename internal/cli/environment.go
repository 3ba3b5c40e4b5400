package cli

import (
	"fmt"

	"github.com/spf13/pflag"
)

// ofVariable annotates a flag with the name of its environment variable.
const ofVariable = "environment"

// fromEnvironment lets an environment variable stand for a flag that is not given, and says so in the help.
func fromEnvironment(flags *pflag.FlagSet, name, variable string) {
	f := flags.Lookup(name)
	f.Usage += " [$" + variable + "]"
	f.Annotations = map[string][]string{ofVariable: {variable}}
}

// variable is the name of the environment variable that may stand for the flag, or empty.
func variable(f *pflag.Flag) string {
	if names := f.Annotations[ofVariable]; len(names) > 0 {
		return names[0]
	}
	return ""
}

// readEnvironment sets the flags that are not given, or empty, from the variables that are set and not
// empty, and returns the variables it has used, by flag. The errors do not repeat a value, which may be a URL.
func readEnvironment(flags *pflag.FlagSet, getenv func(string) string) (used map[string]string, err error) {
	used = make(map[string]string)
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f)
		if name == "" || f.Changed && f.Value.String() != "" {
			return
		}
		value := getenv(name)
		if value == "" {
			return
		}
		if f.Value.Set(value) == nil {
			used[f.Name] = name
			return
		}
		kind := f.Value.Type()
		if kind == "bool" {
			kind = "true or false"
		}
		err = misuse{fmt.Errorf("%s must be %s, as of --%s", name, kind, f.Name)}
	})
	return used, err
}
