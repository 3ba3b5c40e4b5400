package dbtest

var Skips = skips
