// Package schema holds the tables of ReviewPoint as ent schemas: the source from which the client,
// the desired SQL and the migrations are derived. Nothing in it, or below it, imports generated code.
package schema
