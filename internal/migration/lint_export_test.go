package migration

import (
	"io/fs"

	"ariga.io/atlas/sql/migrate"
)

// LintFrom is lint for the tests outside of the package.
var LintFrom = (*Dev).lint

// Accept reads the list of accepted findings, and applies it to findings.
func Accept(list fs.FS, folder string, files []migrate.File, findings []Finding) error {
	all, err := accepted(list)
	if err != nil {
		return err
	}
	return accept(all, folder, files, findings)
}
