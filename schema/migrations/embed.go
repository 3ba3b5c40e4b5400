// Package migrations embeds the versioned migrations, one folder per dialect, in Atlas's format.
package migrations

import "embed"

// FS holds the folders sqlite and postgres, each with its atlas.sum.
//
//go:embed sqlite postgres
var FS embed.FS
