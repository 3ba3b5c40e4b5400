package models_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestReadme_SnippetsCompile holds each Go snippet of the README against the examples, which are compiled and run.
func TestReadme_SnippetsCompile(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	examples := flat(read(t, "example_readme_test.go"))
	snippets := goBlock.FindAllStringSubmatch(readme, -1)
	if len(snippets) == 0 {
		t.Fatal("the README has no Go snippet")
	}
	for _, snippet := range snippets {
		if !strings.Contains(examples, flat(snippet[1])) {
			t.Errorf("this snippet of the README is not in example_readme_test.go:\n%s", snippet[1])
		}
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

// flat leaves out the indentation, which differs.
func flat(code string) string {
	lines := strings.Split(strings.TrimSpace(code), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
