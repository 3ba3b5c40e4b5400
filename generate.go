package models

//go:generate go tool ent generate --feature intercept,privacy,sql/upsert,sql/lock,sql/modifier,sql/execquery,sql/versioned-migration --template internal/template/entity.tmpl --template internal/template/upsert.tmpl --target ./ent ./schema
//go:generate go run ./internal/migration/desired
