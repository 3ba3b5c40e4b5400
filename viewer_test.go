package models_test

import (
	"context"
	"testing"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
)

func TestViewerFrom(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	if v, ok := models.ViewerFrom(ctx); ok {
		t.Errorf("%v asks in a context that names nobody", v)
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want models.Viewer
	}{
		{"anonymous", models.AsAnonymous(ctx), models.Viewer{}},
		{"system", models.AsSystem(ctx, "purge"), models.Viewer{System: true, Label: "purge"}},
		{"user", models.AsUser(ctx, &ent.User{ID: 7}), models.Viewer{UserID: 7}},
		{"admin", models.AsUser(ctx, &ent.User{ID: 8, IsAdmin: true}), models.Viewer{UserID: 8, Admin: true}},
		{"viewer", models.WithViewer(ctx, models.Viewer{UserID: 9, Label: "api"}), models.Viewer{UserID: 9, Label: "api"}},
		{"the last one counts", models.AsAnonymous(models.AsSystem(ctx, "x")), models.Viewer{}},
		{"kept", models.HardDelete(models.IncludeDeleted(models.AsSystem(ctx, "y"))), models.Viewer{System: true, Label: "y"}},
	} {
		if v, ok := models.ViewerFrom(tt.ctx); !ok || v != tt.want {
			t.Errorf("%s: %v asks, want %v", tt.name, v, tt.want)
		}
	}
}
