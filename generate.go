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
// # Who asks
//
// Every context names somebody: [AsUser], [WithViewer], [AsAnonymous] or [AsSystem]; or else it is refused
// with [ErrNoViewer]. The rules hang on the tables, so they hold for the client and the methods of [Store]
// alike: [ErrForbidden] is what somebody may not do, and [ErrNotFound] what is not to be seen.
//
// # Transactions
//
// Several changes that belong together go through [Store.InTx]. Whatever is done with the context that
// it gives joins the transaction. Each method says whether it may run inside.
//
// # Errors
//
// They are told by [errors.Is], and [ValidationError] by [errors.As], never by their text, which holds no value of
// a row and no password. Beside those that a method names, it may return what a database answers to any
// statement ([ErrBusy], for one), and the error of its context.
//
// # Time and text
//
// Times are UTC in microseconds on both databases, whatever zone they came in. Lengths count
// characters, and text is valid UTF-8 without NUL.
//
// # Accounts, tokens, files
//
// [Store.Register], [Store.Authenticate], [Store.CheckToken] and [Store.ResetPassword] are what a service
// begins with; [Store.CreateFiles] and [Store.ListFiles] look after files; [Store.PurgeExpired] removes
// what has been kept for long enough. In tests, [OpenTest] gives a store, and [RollbackTest] a context whose
// changes are undone.
package models

//go:generate go tool ent generate --feature intercept,privacy,sql/upsert,sql/lock,sql/modifier,sql/execquery,sql/versioned-migration --template dir=internal/template --target ./ent ./schema
//go:generate go run ./internal/migration/desired
//go:generate go run ./internal/cli/reference
//go:generate go run ./internal/diagram/generate
