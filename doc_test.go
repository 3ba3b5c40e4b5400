package models_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDoc finds an exported name without a comment, and a method of Store whose comment leaves open what
// every caller must know.
func TestDoc(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	check(t, err)
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			check(t, err)
			files = append(files, file)
		}
	}
	pkg, err := doc.NewFromFiles(set, files, "github.com/reviewpoint/models")
	check(t, err)
	for _, typ := range pkg.Types {
		if typ.Doc == "" {
			t.Errorf("%s has no comment", typ.Name)
		}
		functions := slices.Concat(typ.Funcs, typ.Methods)
		for _, f := range functions {
			if f.Doc == "" {
				t.Errorf("%s.%s has no comment", typ.Name, f.Name)
			}
			if typ.Name != "Store" || f.Recv == "" || !mentions(f.Decl.Type.Params, "Context") {
				continue
			}
			if !strings.Contains(f.Doc, "InTx") {
				t.Errorf("the comment of Store.%s does not say whether it may run inside InTx", f.Name)
			}
			if mentions(f.Decl.Type.Results, "error") && !strings.Contains(strings.ToLower(f.Doc), "err") {
				t.Errorf("the comment of Store.%s does not say which errors it returns", f.Name)
			}
		}
	}
	for _, f := range pkg.Funcs {
		if f.Doc == "" {
			t.Errorf("%s has no comment", f.Name)
		}
	}
}

// mentions reports whether one of the parameters or results has a type of the name.
func mentions(fields *ast.FieldList, name string) bool {
	found := false
	if fields != nil {
		ast.Inspect(fields, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			found = found || ok && id.Name == name
			return true
		})
	}
	return found
}
