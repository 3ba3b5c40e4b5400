// Package models is the data layer of ReviewPoint: users, their files, revoked tokens and used
// password resets, in SQLite or PostgreSQL, behind one generated Go client.
//
// The tables are ent schemas in the folder schema. The client in ent, the SQL of both databases and
// the migrations are derived from them, so a change begins there and go generate carries it on.
//
// A service opens a store, brings the database up to date, and uses the client that the store embeds.
// Every context names who is asking:
//
//	store, err := models.Open(ctx, "sqlite://reviewpoint.db")
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	if _, err := store.Migrate(ctx); err != nil {
//		return err
//	}
//	ada, err := store.Register(models.AsAnonymous(ctx), "ada@example.org", password)
//	if err != nil {
//		return err
//	}
//	files, err := store.File.Query().All(models.AsUser(ctx, ada)) // her own
//
// Several changes that belong together go through InTx. Whatever is done with the context that it
// gives joins the transaction.
package models

//go:generate go tool ent generate --feature intercept,privacy,sql/upsert,sql/lock,sql/modifier,sql/execquery,sql/versioned-migration --template dir=internal/template --target ./ent ./schema
//go:generate go run ./internal/migration/desired
