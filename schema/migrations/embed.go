// Package migrations embeds the versioned migrations, one folder per dialect, in Atlas's format.
package migrations

import "embed"

// FS holds the folders sqlite and postgres, each with its atlas.sum, and what lint is to accept in them.
//
//go:embed sqlite postgres accepted.txt
var FS embed.FS
