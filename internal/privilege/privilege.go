// Package privilege lets the methods of Store do what their callers may not do by the generated client:
// a visitor has an account made, a person sets the own password. Such a method states its own rule first.
// Who imports this package is confined by .golangci.yaml.
package privilege

import (
	"context"
	"slices"

	"github.com/reviewpoint/models/internal/viewer"
)

type key struct{}

type raised struct {
	viewer   *viewer.Viewer
	entities []string
}

// Raise returns a context in which the rules of these entities allow everything to its viewer, but to nobody
// whom a hook names in it. The viewer stays who it is, for the audit trail, and must still have an account
// in use to change something.
func Raise(ctx context.Context, entities ...string) context.Context {
	return context.WithValue(ctx, key{}, raised{viewer.Named(ctx), entities})
}

// Raised reports whether the rules of the entity allow everything in ctx.
func Raised(ctx context.Context, entity string) bool {
	r, _ := ctx.Value(key{}).(raised)
	return viewer.Named(ctx) == r.viewer && slices.Contains(r.entities, entity)
}
