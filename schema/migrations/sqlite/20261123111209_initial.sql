-- Create "audit_logs" table
CREATE TABLE `audit_logs` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `actor` text NOT NULL,
  `action` text NOT NULL,
  `entity` text NOT NULL,
  `entity_id` integer NOT NULL,
  `changes` json NOT NULL,
  CONSTRAINT `audit_logs_action_not_empty` CHECK (action <> ''),
  CONSTRAINT `audit_logs_action_text_32` CHECK (typeof(action) = 'text' AND instr(action, char(0)) = 0 AND length(action) <= 32),
  CONSTRAINT `audit_logs_actor_not_empty` CHECK (actor <> ''),
  CONSTRAINT `audit_logs_actor_text_255` CHECK (typeof(actor) = 'text' AND instr(actor, char(0)) = 0 AND length(actor) <= 255),
  CONSTRAINT `audit_logs_at_time` CHECK (datetime(at) IS NOT NULL AND (at GLOB '????-??-?? ??:??:??' OR (at GLOB '????-??-?? ??:??:??.??????+00:00' AND at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `audit_logs_changes_json` CHECK (typeof(changes) = 'text' AND json_valid(changes)),
  CONSTRAINT `audit_logs_changes_object` CHECK (CAST(changes AS text) LIKE '{%'),
  CONSTRAINT `audit_logs_created_at_time` CHECK (datetime(created_at) IS NOT NULL AND (created_at GLOB '????-??-?? ??:??:??' OR (created_at GLOB '????-??-?? ??:??:??.??????+00:00' AND created_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `audit_logs_entity_id_int` CHECK (typeof(entity_id) = 'integer'),
  CONSTRAINT `audit_logs_entity_not_empty` CHECK (entity <> ''),
  CONSTRAINT `audit_logs_entity_text_64` CHECK (typeof(entity) = 'text' AND instr(entity, char(0)) = 0 AND length(entity) <= 64),
  CONSTRAINT `audit_logs_updated_at_time` CHECK (datetime(updated_at) IS NOT NULL AND (updated_at GLOB '????-??-?? ??:??:??' OR (updated_at GLOB '????-??-?? ??:??:??.??????+00:00' AND updated_at NOT GLOB '*.000000+00:00')))
);
-- Create index "auditlog_entity_entity_id_id" to table: "audit_logs"
CREATE INDEX `auditlog_entity_entity_id_id` ON `audit_logs` (`entity`, `entity_id`, `id`);
-- Create index "auditlog_at" to table: "audit_logs"
CREATE INDEX `auditlog_at` ON `audit_logs` (`at`);
-- Create "blacklisted_tokens" table
CREATE TABLE `blacklisted_tokens` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `jti` text NOT NULL,
  `expires_at` datetime NOT NULL,
  CONSTRAINT `blacklisted_tokens_created_at_time` CHECK (datetime(created_at) IS NOT NULL AND (created_at GLOB '????-??-?? ??:??:??' OR (created_at GLOB '????-??-?? ??:??:??.??????+00:00' AND created_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `blacklisted_tokens_expires_at_time` CHECK (datetime(expires_at) IS NOT NULL AND (expires_at GLOB '????-??-?? ??:??:??' OR (expires_at GLOB '????-??-?? ??:??:??.??????+00:00' AND expires_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `blacklisted_tokens_jti_not_empty` CHECK (jti <> ''),
  CONSTRAINT `blacklisted_tokens_jti_text_255` CHECK (typeof(jti) = 'text' AND instr(jti, char(0)) = 0 AND length(jti) <= 255),
  CONSTRAINT `blacklisted_tokens_updated_at_time` CHECK (datetime(updated_at) IS NOT NULL AND (updated_at GLOB '????-??-?? ??:??:??' OR (updated_at GLOB '????-??-?? ??:??:??.??????+00:00' AND updated_at NOT GLOB '*.000000+00:00')))
);
-- Create index "blacklisted_tokens_jti_key" to table: "blacklisted_tokens"
CREATE UNIQUE INDEX `blacklisted_tokens_jti_key` ON `blacklisted_tokens` (`jti`);
-- Create index "blacklistedtoken_expires_at" to table: "blacklisted_tokens"
CREATE INDEX `blacklistedtoken_expires_at` ON `blacklisted_tokens` (`expires_at`);
-- Create "files" table
CREATE TABLE `files` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `public_id` uuid NOT NULL,
  `filename` text NOT NULL,
  `content_type` text NOT NULL,
  `size` integer NOT NULL DEFAULT 0,
  `user_id` integer NOT NULL,
  CONSTRAINT `files_users_files` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON UPDATE NO ACTION ON DELETE CASCADE,
  CONSTRAINT `files_content_type_not_empty` CHECK (content_type <> ''),
  CONSTRAINT `files_content_type_text_128` CHECK (typeof(content_type) = 'text' AND instr(content_type, char(0)) = 0 AND length(content_type) <= 128),
  CONSTRAINT `files_created_at_time` CHECK (datetime(created_at) IS NOT NULL AND (created_at GLOB '????-??-?? ??:??:??' OR (created_at GLOB '????-??-?? ??:??:??.??????+00:00' AND created_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `files_filename_not_empty` CHECK (filename <> ''),
  CONSTRAINT `files_filename_text_255` CHECK (typeof(filename) = 'text' AND instr(filename, char(0)) = 0 AND length(filename) <= 255),
  CONSTRAINT `files_public_id_uuid` CHECK (public_id GLOB '????????-????-????-????-????????????' AND public_id NOT GLOB '*[^0-9a-f-]*'),
  CONSTRAINT `files_size_int` CHECK (typeof(size) = 'integer'),
  CONSTRAINT `files_size_not_negative` CHECK (size >= 0),
  CONSTRAINT `files_updated_at_time` CHECK (datetime(updated_at) IS NOT NULL AND (updated_at GLOB '????-??-?? ??:??:??' OR (updated_at GLOB '????-??-?? ??:??:??.??????+00:00' AND updated_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `files_user_id_int` CHECK (typeof(user_id) = 'integer')
);
-- Create index "files_public_id_key" to table: "files"
CREATE UNIQUE INDEX `files_public_id_key` ON `files` (`public_id`);
-- Create index "file_user_id_created_at_id" to table: "files"
CREATE INDEX `file_user_id_created_at_id` ON `files` (`user_id`, `created_at`, `id`);
-- Create index "file_user_id_filename" to table: "files"
CREATE INDEX `file_user_id_filename` ON `files` (`user_id`, `filename`);
-- Create "used_password_reset_tokens" table
CREATE TABLE `used_password_reset_tokens` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `email` text NOT NULL,
  `nonce` text NOT NULL,
  `used_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT `used_password_reset_tokens_created_at_time` CHECK (datetime(created_at) IS NOT NULL AND (created_at GLOB '????-??-?? ??:??:??' OR (created_at GLOB '????-??-?? ??:??:??.??????+00:00' AND created_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `used_password_reset_tokens_email_not_empty` CHECK (email <> ''),
  CONSTRAINT `used_password_reset_tokens_email_text_255` CHECK (typeof(email) = 'text' AND instr(email, char(0)) = 0 AND length(email) <= 255),
  CONSTRAINT `used_password_reset_tokens_nonce_not_empty` CHECK (nonce <> ''),
  CONSTRAINT `used_password_reset_tokens_nonce_text_64` CHECK (typeof(nonce) = 'text' AND instr(nonce, char(0)) = 0 AND length(nonce) <= 64),
  CONSTRAINT `used_password_reset_tokens_updated_at_time` CHECK (datetime(updated_at) IS NOT NULL AND (updated_at GLOB '????-??-?? ??:??:??' OR (updated_at GLOB '????-??-?? ??:??:??.??????+00:00' AND updated_at NOT GLOB '*.000000+00:00'))),
  CONSTRAINT `used_password_reset_tokens_used_at_time` CHECK (datetime(used_at) IS NOT NULL AND (used_at GLOB '????-??-?? ??:??:??' OR (used_at GLOB '????-??-?? ??:??:??.??????+00:00' AND used_at NOT GLOB '*.000000+00:00')))
);
-- Create index "usedpasswordresettoken_email_nonce" to table: "used_password_reset_tokens"
CREATE UNIQUE INDEX `usedpasswordresettoken_email_nonce` ON `used_password_reset_tokens` (`email`, `nonce`);
-- Create index "usedpasswordresettoken_used_at" to table: "used_password_reset_tokens"
CREATE INDEX `usedpasswordresettoken_used_at` ON `used_password_reset_tokens` (`used_at`);
-- Create "users" table
CREATE TABLE `users` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `created_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
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
-- Create index "users_public_id_key" to table: "users"
CREATE UNIQUE INDEX `users_public_id_key` ON `users` (`public_id`);
-- Create index "user_email" to table: "users"
CREATE UNIQUE INDEX `user_email` ON `users` (`email`) WHERE NOT is_deleted;
-- Create index "user_created_at_id" to table: "users"
CREATE INDEX `user_created_at_id` ON `users` (`created_at`, `id`);
