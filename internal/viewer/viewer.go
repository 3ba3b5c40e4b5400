// Package viewer carries who is asking, and what they asked to see, in the context.
package viewer

import "context"

// Viewer is who is asking. The zero value is nobody in particular: an anonymous visitor.
type Viewer struct {
	UserID int    // the signed-in person's id; 0 for anonymous and system
	Admin  bool   // the person is an administrator
	Label  string // a name for the audit trail, such as that of a job
	System bool   // a job or a tool of the application itself, which may do everything
}

type (
	viewerKey         struct{}
	includeDeletedKey struct{}
	hardDeleteKey     struct{}
)

// NewContext returns a context in which v asks.
func NewContext(ctx context.Context, v Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// FromContext returns who asks in ctx, and whether anybody was named.
func FromContext(ctx context.Context) (Viewer, bool) {
	v, ok := ctx.Value(viewerKey{}).(Viewer)
	return v, ok
}

// IncludeDeleted returns a context whose queries also see rows that are softly deleted.
func IncludeDeleted(ctx context.Context) context.Context {
	return context.WithValue(ctx, includeDeletedKey{}, true)
}

// DeletedIncluded reports whether queries of ctx see rows that are softly deleted.
func DeletedIncluded(ctx context.Context) bool {
	included, _ := ctx.Value(includeDeletedKey{}).(bool)
	return included
}

// HardDelete returns a context whose deletes remove the row.
func HardDelete(ctx context.Context) context.Context {
	return context.WithValue(ctx, hardDeleteKey{}, true)
}

// HardDeleted reports whether deletes of ctx remove the row.
func HardDeleted(ctx context.Context) bool {
	hard, _ := ctx.Value(hardDeleteKey{}).(bool)
	return hard
}
