-- atlas:nolint PG305

-- Hold what is written from now on to it; nobody else reads or writes accounts until all is done, half a second of a million
ALTER TABLE "users" ADD CONSTRAINT "users_deleted_at_when_deleted" CHECK (is_deleted = (deleted_at IS NOT NULL)) NOT VALID;
-- Make whole what other hands left: whoever is deleted was deleted at some time
UPDATE "users" SET deleted_at = updated_at WHERE is_deleted AND deleted_at IS NULL;
UPDATE "users" SET deleted_at = NULL WHERE NOT is_deleted AND deleted_at IS NOT NULL;
-- Hold the rows that are there to it
ALTER TABLE "users" VALIDATE CONSTRAINT "users_deleted_at_when_deleted";
