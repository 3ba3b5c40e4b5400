package cluster_test

import (
	"slices"
	"testing"

	"github.com/reviewpoint/models/internal/cluster"
)

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	got := cluster.NewestFirst([]string{"/pg/10/bin", "/pg/9.6/bin", "/pg/bin", "/pg@17/bin"})
	want := []string{"/pg@17/bin", "/pg/10/bin", "/pg/9.6/bin", "/pg/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("NewestFirst = %v, want %v", got, want)
	}
}
