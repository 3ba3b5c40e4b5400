package transfer_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reviewpoint/models/ent/migrate"
	"github.com/reviewpoint/models/internal/database"
	"github.com/reviewpoint/models/internal/transfer"
)

// resident is how many bytes of the process are in memory.
func resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("there is no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	check(t, err)
	return pages * int64(os.Getpagesize())
}

// TestCopy_ConstantMemory copies a million users and files, or a few thousand in the short form. It runs
// alone, for it measures the process.
func TestCopy_ConstantMemory(t *testing.T) { //nolint:paralleltest // see above
	rows := 4500
	if long() {
		rows = 500_000
	}
	for _, way := range [][2]string{{"sqlite3", "postgres"}, {"postgres", "sqlite3"}} {
		t.Run(way[0]+"_to_"+way[1], func(t *testing.T) {
			from, to := newURL(t, way[0]), newURL(t, way[1])
			addRows(t, open(t, from, database.Options{}), rows)
			source, target := open(t, from, readOnly), open(t, to, database.Options{})
			addRowsTo(t, source, target)
		})
	}
}

func addRowsTo(t *testing.T, source, target *database.DB) {
	t.Helper()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	residentBefore := resident(t)
	var heap, most int64
	var seen atomic.Int64
	began := time.Now()
	took := make(map[string]time.Duration)
	report, err := transfer.Copy(t.Context(), source, target, migrate.Tables, func(verb string, rows, total int64) {
		if verb == "copied" || rows == total {
			took[verb] = time.Since(began)
		}
		if n := seen.Add(1); n%200 != 0 && verb == "compared" {
			return
		}
		runtime.ReadMemStats(&now)
		heap, most = max(heap, int64(now.HeapAlloc)-int64(before.HeapAlloc)), max(most, resident(t)-residentBefore)
	})
	check(t, err)
	sums(t, report)
	total := int64(0)
	for _, table := range report.Tables {
		total += table.Copied
	}
	t.Logf("%d rows: copied in %s (%.0f/s), compared in %s; heap grew by %d MiB, resident by %d MiB", total,
		took["copied"].Round(time.Millisecond), float64(total)/took["copied"].Seconds(), (took["compared"] - took["copied"]).Round(time.Millisecond), heap>>20, most>>20)
	if heap > 64<<20 || most > 64<<20 {
		t.Errorf("heap grew by %d MiB, resident by %d MiB, want 64 at most", heap>>20, most>>20)
	}
}
