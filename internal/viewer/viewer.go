// Package viewer carries who is asking, and what they asked to see, in the context.
package viewer

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// ErrNoViewer is the answer to a context that does not say who is asking.
var ErrNoViewer = errors.New("the context names no viewer: call models.AsSystem, AsUser, WithViewer or AsAnonymous")

// Viewer is who is asking. The zero value is nobody in particular: an anonymous visitor.
type Viewer struct {
	UserID int    // the signed-in person's id; 0 for anonymous and system
	Admin  bool   // the person is an administrator
	Label  string // a name for the audit trail, for whoever has no id: a job, a tool
	System bool   // a job or a tool of the application itself, which may do everything
}

// maxActor is the length of audit_logs.actor.
const maxActor = 255

// String is the name of the viewer in the audit trail: "user:7" for a person, "system:" or "admin:"
// and the label for whoever has no id, "anonymous" for a visitor. It has 255 characters at most.
func (v Viewer) String() string {
	name := "anonymous"
	switch {
	case v.System:
		name = "system:" + v.Label
	case v.UserID != 0:
		name = "user:" + strconv.Itoa(v.UserID)
	case v.Admin:
		name = "admin:" + v.Label
	}
	name = strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), "\x00", "\uFFFD") // as databases take it
	if runes := []rune(name); len(runes) > maxActor {
		name = string(runes[:maxActor])
	}
	return strings.TrimSuffix(name, ":")
}

type (
	viewerKey         struct{}
	includeDeletedKey struct{}
	hardDeleteKey     struct{}
)

// NewContext returns a context in which v asks.
func NewContext(ctx context.Context, v Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, &v)
}

// FromContext returns who asks in ctx, and whether anybody was named.
func FromContext(ctx context.Context) (Viewer, bool) {
	if v := Named(ctx); v != nil {
		return *v, true
	}
	return Viewer{}, false
}

// Named returns who asks in ctx, or nil: one pointer for each call of NewContext, so that it tells two
// contexts apart that name the same.
func Named(ctx context.Context) *Viewer {
	v, _ := ctx.Value(viewerKey{}).(*Viewer)
	return v
}

// Required returns who asks in ctx, or ErrNoViewer.
func Required(ctx context.Context) (Viewer, error) {
	v, ok := FromContext(ctx)
	if !ok {
		return v, ErrNoViewer
	}
	return v, nil
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
