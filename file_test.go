package models_test

import (
	"context"
	"testing"

	"github.com/reviewpoint/models"
)

func TestFiles_Smoke(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, ctx context.Context, s *models.Store) {
		u := must(newUser(s).Save(ctx))(t)
		for _, n := range []int{1, 2, 1000, 25000} {
			nf := make([]models.NewFile, n)
			for i := range nf {
				nf[i] = models.NewFile{Filename: "статья \"{,}\\'<&.pdf", ContentType: "application/pdf", Size: int64(i)}
			}
			got := must(s.CreateFiles(models.AsUser(ctx, u), u.ID, nf))(t)
			if len(got) != n || got[0].ID == 0 || got[n-1].ID != got[0].ID+n-1 {
				t.Fatal(len(got), got[0])
			}
			back := must(s.File.Get(ctx, got[n-1].ID))(t)
			if back.String() != got[n-1].String() {
				t.Errorf("%v\n%v", back, got[n-1])
			}
			must(got[0].QueryUser().Only(ctx))(t)
		}
		p := must(s.ListFiles(models.AsUser(ctx, u), models.FileFilter{}, models.PageRequest{WithTotal: true}))(t)
		t.Log(len(p.Items), *p.Total, p.Next, p.Prev)
		p = must(s.ListFiles(ctx, models.FileFilter{}, models.PageRequest{WithTotal: true}))(t)
		t.Log(len(p.Items), *p.Total, p.Next, p.Prev)
		d, m, err := s.DeleteFiles(models.AsUser(ctx, u), u.ID, []string{"статья \"{,}\\'<&.pdf", "x"})
		t.Log(d, m, err)
	})
}
