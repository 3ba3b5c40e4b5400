package migration

// Lint is lint for the tests outside of the package.
var Lint = (*Dev).lint
