-- atlas:nolint PG305

-- Let nobody write a row like those that are made whole below; a million rows take half a second
LOCK TABLE "users";
-- Make whole what other hands left: whoever is deleted was deleted at some time
UPDATE "users" SET deleted_at = updated_at WHERE is_deleted AND deleted_at IS NULL;
UPDATE "users" SET deleted_at = NULL WHERE NOT is_deleted AND deleted_at IS NOT NULL;
-- Modify "users" table
ALTER TABLE "users" ADD CONSTRAINT "users_deleted_at_when_deleted" CHECK (is_deleted = (deleted_at IS NOT NULL));
