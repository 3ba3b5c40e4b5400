package models_test

import (
	"context"
	"fmt"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent/auditlog"
)

// The trail of an account, which administrators and the system may read.
func Example_auditTrail() {
	err := auditTrail(models.AsSystem(context.Background(), "example"))
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// create by anonymous
	// soft_delete by system:example
}

func auditTrail(ctx context.Context) error {
	store, err := models.Open(ctx, "sqlite://:memory:")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	ada, err := store.Register(models.AsAnonymous(ctx), "ada@example.org", "a long horse")
	if err != nil {
		return err
	}
	if err := store.SoftDeleteUser(ctx, ada.ID); err != nil {
		return err
	}
	trail, err := store.AuditLog.Query().
		Where(auditlog.Entity("user"), auditlog.EntityID(ada.ID)).
		Order(auditlog.ByID()).
		All(ctx)
	if err != nil {
		return err
	}
	for _, row := range trail {
		fmt.Println(row.Action, "by", row.Actor)
	}
	return nil
}
