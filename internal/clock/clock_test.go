package clock_test

import (
	"context"
	"testing"
	"time"

	"github.com/reviewpoint/models/internal/clock"
)

func TestNormal(t *testing.T) {
	t.Parallel()
	for _, zone := range []*time.Location{time.UTC, time.Local, time.FixedZone("west", -8*3600)} {
		given := time.Date(2026, 1, 2, 3, 4, 5, 123456999, time.UTC).In(zone)
		got := clock.Normal(given)
		if want := time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC); got != want {
			t.Errorf("%s: %s, want %s", zone, got, want)
		}
	}
	// Truncated, not rounded: never later than what was given.
	early := time.Date(1, 1, 1, 0, 0, 0, 999, time.UTC)
	if got := clock.Normal(early); got.After(early) {
		t.Errorf("%s is after %s", got, early)
	}
}

func TestNow(t *testing.T) {
	t.Parallel()
	before := time.Now().UTC().Truncate(time.Microsecond)
	now := clock.Now(context.Background())
	if now.Before(before) || now.After(time.Now()) || now.Location() != time.UTC {
		t.Errorf("the machine's time is %s, after %s", now, before)
	}
	fixed := time.Date(2026, 1, 2, 3, 4, 5, 999, time.FixedZone("east", 9*3600))
	ctx := clock.NewContext(context.Background(), func() time.Time { return fixed })
	if got := clock.Now(ctx); got != clock.Normal(fixed) {
		t.Errorf("the time of the context is %s, want %s", got, clock.Normal(fixed))
	}
	if got := clock.Now(clock.NewContext(ctx, func() time.Time { return fixed.Add(time.Hour) })); got != clock.Normal(fixed.Add(time.Hour)) {
		t.Errorf("the inner clock does not win: %s", got)
	}
}
