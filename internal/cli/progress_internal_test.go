package cli

import (
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rows, done, total int64
		elapsed           time.Duration
		want              string
	}{
		{0, 0, 0, 0, "0 rows read"},
		{500, 500, 1000, time.Second / 2, "500 rows read"},
		{500, 0, 1000, 9 * time.Second, "500 rows read"},
		{500, 500, 0, 2 * time.Second, "500 rows read, 250/s"},
		{500, 1, 4, 2 * time.Second, "500 rows read, 250/s, 6s left"},
		{1000, 4, 4, 200 * time.Second, "1000 rows read, 5/s, 0s left"},
		{10, 1, 3600, time.Second, "10 rows read, 10/s, 59m59s left"},
	} {
		if got := progressLine("read", c.rows, c.done, c.total, c.elapsed); got != c.want {
			t.Errorf("progressLine(%d, %d of %d, %s) = %q, want %q", c.rows, c.done, c.total, c.elapsed, got, c.want)
		}
	}
}
