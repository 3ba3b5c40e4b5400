package migration_test

import (
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"

	"ariga.io/atlas/sql/migrate"

	"github.com/reviewpoint/models/schema/migrations"
)

// withPending is the module's folder with a file more.
func withPending(t testing.TB) fstest.MapFS {
	t.Helper()
	return withFiles(t, map[string]string{"20990101000000_more.sql": "CREATE TABLE more (id integer PRIMARY KEY);\n"})
}

// withFiles is the module's folder with more files, the same ones for both dialects.
func withFiles(t testing.TB, more map[string]string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for _, name := range []string{"sqlite", "postgres"} {
		sub, err := fs.Sub(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := fs.ReadDir(sub, ".")
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]string)
		maps.Copy(all, more)
		for _, entry := range entries {
			content, err := fs.ReadFile(sub, entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			if entry.Name() != "atlas.sum" {
				all[entry.Name()] = string(content)
			}
		}
		addFolder(t, out, name, all)
	}
	return out
}

// addFolder adds a folder with its atlas.sum.
func addFolder(t testing.TB, out fstest.MapFS, name string, files map[string]string) {
	t.Helper()
	dir := &migrate.MemDir{}
	for file, content := range files {
		if err := dir.WriteFile(file, []byte(content)); err != nil {
			t.Fatal(err)
		}
		out[name+"/"+file] = &fstest.MapFile{Data: []byte(content)}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	text, err := sum.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out[name+"/atlas.sum"] = &fstest.MapFile{Data: text}
}
