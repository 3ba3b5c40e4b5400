package dbtest

var (
	ErrNoPostgres = errNoPostgres
	FindBinaries  = findBinaries
	NewestFirst   = newestFirst
	Skips         = skips
)
