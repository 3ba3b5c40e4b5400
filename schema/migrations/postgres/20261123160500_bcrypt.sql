-- Create index "user_bcrypt" to table: "users"
CREATE INDEX "user_bcrypt" ON "users" ("id") WHERE NOT is_deleted AND hashed_password LIKE '$2%';
