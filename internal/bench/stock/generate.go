// Package stock is a client of ent as it comes, which the benchmark measures beside that of this module.
package stock

//go:generate go tool ent generate --target . ./schema
