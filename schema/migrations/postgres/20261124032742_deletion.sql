-- atlas:nolint PG305

-- Make whole what other hands left: whoever is deleted was deleted at some time
UPDATE "users" SET deleted_at = updated_at WHERE is_deleted AND deleted_at IS NULL;
UPDATE "users" SET deleted_at = NULL WHERE NOT is_deleted AND deleted_at IS NOT NULL;
-- Modify "users" table, which is tried on all rows: 0.1 s for a million
ALTER TABLE "users" ADD CONSTRAINT "users_deleted_at_when_deleted" CHECK (is_deleted = (deleted_at IS NOT NULL));
