package models_test

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestPackageDoc holds the package's documentation against README.md and a compiled example.
func TestPackageDoc(t *testing.T) {
	t.Parallel()
	parsed, err := parser.ParseFile(token.NewFileSet(), "generate.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	check(t, err)
	doc := parsed.Doc.Text()
	first, _, _ := strings.Cut(doc, "\n\n")
	what := strings.Replace(strings.ReplaceAll(first, "\n", " "), "Package models is the", "The", 1)
	if !strings.Contains(read(t, "README.md"), "# models\n\n"+what+"\n") {
		t.Errorf("README.md does not begin with what the package says it is: %s", what)
	}
	var snippet []string
	for line := range strings.Lines(doc) {
		if code, ok := strings.CutPrefix(line, "\t"); ok {
			snippet = append(snippet, strings.TrimSpace(code))
		}
	}
	var example []string
	for line := range strings.Lines(read(t, "example_package_test.go")) {
		example = append(example, strings.TrimSpace(line))
	}
	if len(snippet) == 0 || !strings.Contains(strings.Join(example, "\n"), strings.Join(snippet, "\n")) {
		t.Errorf("this snippet of the package's documentation is not in example_package_test.go:\n%s", strings.Join(snippet, "\n"))
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
