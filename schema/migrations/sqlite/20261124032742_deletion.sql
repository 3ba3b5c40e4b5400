-- A million accounts take 6 s, in which nobody writes, and as much space again
-- Make whole what other hands left: whoever is deleted was deleted at some time
UPDATE `users` SET deleted_at = updated_at WHERE is_deleted AND deleted_at IS NULL;
UPDATE `users` SET deleted_at = NULL WHERE NOT is_deleted AND deleted_at IS NOT NULL;
-- Disable the enforcement of foreign-keys constraints
PRAGMA foreign_keys = off;
-- Carry on the ids of "users"
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_users', seq FROM sqlite_sequence WHERE name = 'users';
-- Create "new_users" table
CREATE TABLE `new_users` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT (CURRENT_TIMESTAMP),
  `updated_at` datetime NOT NULL DEFAULT (CURRENT_TIMESTAMP),
  `public_id` uuid NOT NULL,
  `email` text NOT NULL,
  `hashed_password` text NOT NULL,
  `is_active` bool NOT NULL DEFAULT true,
  `is_admin` bool NOT NULL DEFAULT false,
  `is_deleted` bool NOT NULL DEFAULT false,
  `deleted_at` datetime NULL,
  `last_login_at` datetime NULL,
  `tokens_valid_after` datetime NULL,
  `name` text NULL,
  `bio` text NULL,
  `avatar_url` text NULL,
  `preferences` json NULL,
  CONSTRAINT `users_avatar_url_text_255` CHECK (avatar_url IS NULL OR (typeof(avatar_url) = 'text' AND instr(avatar_url, char(0)) = 0 AND length(avatar_url) <= 255)),
  CONSTRAINT `users_bio_text_512` CHECK (bio IS NULL OR (typeof(bio) = 'text' AND instr(bio, char(0)) = 0 AND length(bio) <= 512)),
  CONSTRAINT `users_created_at_time` CHECK (datetime(created_at) IS NOT NULL AND (created_at GLOB '????-??-?? ??:??:??' OR (created_at GLOB '????-??-?? ??:??:??.??????+00:00' AND created_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `users_deleted_at_time` CHECK (deleted_at IS NULL OR (datetime(deleted_at) IS NOT NULL AND (deleted_at GLOB '????-??-?? ??:??:??' OR (deleted_at GLOB '????-??-?? ??:??:??.??????+00:00' AND deleted_at NOT GLOB '*.000000+00:00')))),
  CONSTRAINT `users_deleted_at_when_deleted` CHECK (is_deleted = (deleted_at IS NOT NULL)),
  CONSTRAINT `users_email_not_empty` CHECK (email <> ''),
  CONSTRAINT `users_email_text_255` CHECK (typeof(email) = 'text' AND instr(email, char(0)) = 0 AND length(email) <= 255),
  CONSTRAINT `users_hashed_password_not_empty` CHECK (hashed_password <> ''),
  CONSTRAINT `users_hashed_password_text_255` CHECK (typeof(hashed_password) = 'text' AND instr(hashed_password, char(0)) = 0 AND length(hashed_password) <= 255),
  CONSTRAINT `users_is_active_bool` CHECK (is_active IN (0, 1)),
  CONSTRAINT `users_is_admin_bool` CHECK (is_admin IN (0, 1)),
  CONSTRAINT `users_is_deleted_bool` CHECK (is_deleted IN (0, 1)),
  CONSTRAINT `users_last_login_at_time` CHECK (last_login_at IS NULL OR (datetime(last_login_at) IS NOT NULL AND (last_login_at GLOB '????-??-?? ??:??:??' OR (last_login_at GLOB '????-??-?? ??:??:??.??????+00:00' AND last_login_at NOT GLOB '*.000000+00:00')))),
  CONSTRAINT `users_name_text_128` CHECK (name IS NULL OR (typeof(name) = 'text' AND instr(name, char(0)) = 0 AND length(name) <= 128)),
  CONSTRAINT `users_preferences_json` CHECK (preferences IS NULL OR (typeof(preferences) = 'text' AND json_valid(preferences))),
  CONSTRAINT `users_preferences_object` CHECK (CAST(preferences AS text) LIKE '{%'),
  CONSTRAINT `users_public_id_uuid` CHECK (public_id GLOB '????????-????-????-????-????????????' AND public_id NOT GLOB '*[^0-9a-f-]*'),
  CONSTRAINT `users_tokens_valid_after_time` CHECK (tokens_valid_after IS NULL OR (datetime(tokens_valid_after) IS NOT NULL AND (tokens_valid_after GLOB '????-??-?? ??:??:??' OR (tokens_valid_after GLOB '????-??-?? ??:??:??.??????+00:00' AND tokens_valid_after NOT GLOB '*.000000+00:00')))),
  CONSTRAINT `users_updated_at_time` CHECK (datetime(updated_at) IS NOT NULL AND (updated_at GLOB '????-??-?? ??:??:??' OR (updated_at GLOB '????-??-?? ??:??:??.??????+00:00' AND updated_at NOT GLOB '*.000000+00:00')))
);
-- Copy rows from old table "users" to new temporary table "new_users"
INSERT INTO `new_users` (`id`, `created_at`, `updated_at`, `public_id`, `email`, `hashed_password`, `is_active`, `is_admin`, `is_deleted`, `deleted_at`, `last_login_at`, `tokens_valid_after`, `name`, `bio`, `avatar_url`, `preferences`) SELECT `id`, `created_at`, `updated_at`, `public_id`, `email`, `hashed_password`, `is_active`, `is_admin`, `is_deleted`, `deleted_at`, `last_login_at`, `tokens_valid_after`, `name`, `bio`, `avatar_url`, `preferences` FROM `users`;
-- Drop "users" table after copying rows
DROP TABLE `users`;
-- Rename temporary table "new_users" to "users"
ALTER TABLE `new_users` RENAME TO `users`;
-- Create index "users_public_id_key" to table: "users"
CREATE UNIQUE INDEX `users_public_id_key` ON `users` (`public_id`);
-- Create index "user_bcrypt" to table: "users"
CREATE INDEX `user_bcrypt` ON `users` (`id`) WHERE NOT is_deleted AND hashed_password LIKE '$2%';
-- Create index "user_email" to table: "users"
CREATE UNIQUE INDEX `user_email` ON `users` (`email`) WHERE NOT is_deleted;
-- Create index "user_created_at_id" to table: "users"
CREATE INDEX `user_created_at_id` ON `users` (`created_at`, `id`);
-- Enable back the enforcement of foreign-keys constraints
PRAGMA foreign_keys = on;
