package models

import (
	"context"

	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/internal/viewer"
)

// Viewer is who is asking: UserID int, Admin and System bool, and Label string, which names in the audit
// trail who has no UserID. The zero value is an anonymous visitor. A person has a UserID, which is that
// of an account; an administrator may have a Label instead, and then nothing is looked up. A negative UserID, and
// an administrator with neither, are refused with ErrForbidden. System counts before UserID, and UserID before Label.
// String is the name in the audit trail, of 255 characters at most: "user:7", "system:import", "anonymous".
type Viewer = viewer.Viewer

// WithViewer returns a context in which a signed-in person asks. Reads take Admin on the caller's word;
// a change looks the account up.
func WithViewer(ctx context.Context, v Viewer) context.Context { return viewer.NewContext(ctx, v) }

// AsUser returns a context in which u asks, with the rights that u has; nil, or one that is not saved, is
// anonymous.
func AsUser(ctx context.Context, u *ent.User) context.Context {
	if u == nil {
		return AsAnonymous(ctx)
	}
	return viewer.NewContext(ctx, Viewer{UserID: u.ID, Admin: u.IsAdmin})
}

// AsAnonymous returns a context in which a visitor asks who has not signed in.
func AsAnonymous(ctx context.Context) context.Context { return viewer.NewContext(ctx, Viewer{}) }

// AsSystem returns a context in which the application itself asks: a job, a tool, a test. It may do
// everything; label says in the audit trail which it was.
func AsSystem(ctx context.Context, label string) context.Context {
	return viewer.NewContext(ctx, Viewer{System: true, Label: label})
}

// ViewerFrom returns who asks in ctx, and whether anybody was named.
func ViewerFrom(ctx context.Context) (Viewer, bool) { return viewer.FromContext(ctx) }

// IncludeDeleted returns a context whose queries, edges and updates also see rows that are softly
// deleted. Whose rows they are counts as before; a person who is deleted sees none.
func IncludeDeleted(ctx context.Context) context.Context { return viewer.IncludeDeleted(ctx) }

// HardDelete returns a context whose deletes of users remove the row for good, a softly deleted one
// too, and the files with it. Administrators and the system may. The trail keeps what the row was, and nothing
// redacts it any more: call AnonymizeUser first, or leave the row to PurgeExpired, which does.
func HardDelete(ctx context.Context) context.Context { return viewer.HardDelete(ctx) }
