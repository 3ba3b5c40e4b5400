package stock

//go:generate go tool ent generate --target . ./schema
