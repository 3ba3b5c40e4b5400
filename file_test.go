package models_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
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

// rawFiles is what somebody would write for files alone, with database/sql and prepared statements.
type rawFiles struct {
	db           *stdsql.DB
	page, insert *stdsql.Stmt
	sqlite       bool
}

type rawFile struct {
	id, userID            int
	createdAt, updatedAt  time.Time
	publicID              uuid.UUID
	filename, contentType string
	size                  int64
}

func newRawFiles(b *testing.B, ctx context.Context, url string) *rawFiles {
	b.Helper()
	r := &rawFiles{sqlite: strings.HasPrefix(url, "sqlite")}
	path := strings.TrimPrefix(url, "sqlite://")
	name, source := "postgres", url
	if r.sqlite {
		name, source = "sqlite3", "file:"+path+"&_foreign_keys=1&_journal_mode=WAL&_txlock=immediate&_busy_timeout=5000"
		source = strings.Replace(source, "?synchronous", "?_synchronous", 1)
	}
	r.db = must(stdsql.Open(name, source))(b)
	b.Cleanup(func() { check(b, r.db.Close()) })
	r.db.SetMaxIdleConns(10)
	r.page = must(r.db.PrepareContext(ctx, "SELECT id, created_at, updated_at, public_id, filename, content_type, size, user_id FROM files WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 20"))(b)
	insert := "INSERT INTO files (created_at, updated_at, public_id, filename, content_type, size, user_id) VALUES ($1, $1, $2, $3, $4, $5, $6)"
	if !r.sqlite {
		insert += " RETURNING id"
	}
	r.insert = must(r.db.PrepareContext(ctx, insert))(b)
	return r
}

func (r *rawFiles) list(b *testing.B, ctx context.Context, userID int) {
	b.Helper()
	rows := must(r.page.QueryContext(ctx, userID))(b)
	files := make([]*rawFile, 0, 20)
	for rows.Next() {
		f := new(rawFile)
		check(b, rows.Scan(&f.id, &f.createdAt, &f.updatedAt, &f.publicID, &f.filename, &f.contentType, &f.size, &f.userID))
		files = append(files, f)
	}
	check(b, rows.Err())
	check(b, rows.Close())
	if len(files) != 20 {
		b.Fatalf("a page of %d", len(files))
	}
}

func (r *rawFiles) create(b *testing.B, ctx context.Context, insert *stdsql.Stmt, userID int, n models.NewFile) rawFile {
	b.Helper()
	now := time.Now().UTC()
	f := rawFile{createdAt: now, updatedAt: now, publicID: uuid.New(), filename: n.Filename, contentType: n.ContentType, size: n.Size, userID: userID}
	var at any = now
	if r.sqlite {
		at = now.Truncate(2 * time.Microsecond).Add(time.Microsecond).Format("2006-01-02 15:04:05.000000-07:00") // never a whole second
	}
	if !r.sqlite {
		check(b, insert.QueryRowContext(ctx, at, f.publicID.String(), f.filename, f.contentType, f.size, f.userID).Scan(&f.id))
		return f
	}
	f.id = int(must(must(insert.ExecContext(ctx, at, f.publicID.String(), f.filename, f.contentType, f.size, f.userID))(b).LastInsertId())(b))
	return f
}

func (r *rawFiles) createMany(b *testing.B, ctx context.Context, userID int, files []models.NewFile) {
	b.Helper()
	tx := must(r.db.BeginTx(ctx, nil))(b)
	insert := tx.StmtContext(ctx, r.insert)
	made := make([]rawFile, len(files))
	for i, f := range files {
		made[i] = r.create(b, ctx, insert, userID, f)
	}
	check(b, tx.Commit())
}

// BenchmarkFiles measures the methods for files beside what somebody would write by hand, and beside the
// generated client, each by itself and in turn:
// go test -run '^$' -bench Files -count 6 . The time of "ratio" is that of all in turn, which others that
// use the machine disturb alike; it reports the medians beside raw.
func BenchmarkFiles(b *testing.B) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite://" + b.TempDir() + "/bench.db?synchronous=normal" },
		"postgres": func() string { return postgresURL(b) },
	} {
		b.Run(name, func(b *testing.B) { benchFiles(b, url()) })
	}
}

func benchFiles(b *testing.B, url string) {
	b.Helper()
	s := must(models.Open(b.Context(), url))(b)
	b.Cleanup(func() { check(b, s.Close()) })
	must(s.Migrate(b.Context()))(b)
	ctx := models.AsSystem(context.Background(), "bench")
	users := make([]*ent.User, 100)
	for i := range users {
		users[i] = must(newUser(s).Save(ctx))(b)
		check(b, manyFiles(s, ctx, users[i].ID, 100))
	}
	raw := newRawFiles(b, ctx, url)
	thousand := newFiles(1000)
	turn := 0
	next := func() (context.Context, int) {
		turn++
		u := users[turn%len(users)]
		return models.AsUser(ctx, u), u.ID
	}
	for _, bench := range []struct {
		name string
		by   map[string]func()
	}{
		{"list", map[string]func(){
			"raw": func() { ctx, id := next(); raw.list(b, ctx, id) },
			"method": func() {
				ctx, id := next()
				if p := must(s.ListFiles(ctx, models.FileFilter{UserID: id}, models.PageRequest{}))(b); len(p.Items) != 20 {
					b.Fatalf("a page of %d", len(p.Items))
				}
			},
			"client": func() {
				ctx, id := next()
				must(s.File.Query().Where(file.UserID(id)).Order(ent.Desc(file.FieldCreatedAt, file.FieldID)).Limit(20).All(ctx))(b)
			},
		}},
		{"create 1", map[string]func(){
			"raw":    func() { ctx, id := next(); raw.create(b, ctx, raw.insert, id, thousand[0]) },
			"method": func() { ctx, id := next(); must(s.CreateFiles(ctx, id, thousand[:1]))(b) },
			"client": func() {
				ctx, id := next()
				must(s.File.Create().SetFilename(thousand[0].Filename).SetContentType(thousand[0].ContentType).SetUserID(id).Save(ctx))(b)
			},
		}},
		{"create 1000", map[string]func(){
			"raw":    func() { ctx, id := next(); raw.createMany(b, ctx, id, thousand) },
			"method": func() { ctx, id := next(); must(s.CreateFiles(ctx, id, thousand))(b) },
			"client": func() {
				ctx, id := next()
				must(s.File.MapCreateBulk(thousand, func(c *ent.FileCreate, i int) {
					c.SetFilename(thousand[i].Filename).SetContentType(thousand[i].ContentType).SetSize(thousand[i].Size).SetUserID(id)
				}).Save(ctx))(b)
			},
		}},
	} {
		b.Run(bench.name+"/ratio", func(b *testing.B) {
			took := map[string][]time.Duration{}
			for b.Loop() {
				for by, do := range bench.by { // in any order
					began := time.Now()
					do()
					took[by] = append(took[by], time.Since(began))
				}
			}
			median := func(by string) float64 { slices.Sort(took[by]); return float64(took[by][len(took[by])/2]) }
			b.ReportMetric(median("method")/median("raw"), "method/raw")
			b.ReportMetric(median("client")/median("raw"), "client/raw")
			b.ReportMetric(median("raw"), "raw-ns")
		})
		for _, by := range []string{"raw", "method", "client"} {
			b.Run(bench.name+"/by="+by, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					bench.by[by]()
				}
			})
		}
	}
}

func newFiles(n int) []models.NewFile {
	files := make([]models.NewFile, n)
	for i := range files {
		files[i] = models.NewFile{Filename: fmt.Sprintf("статья %d.pdf", i), ContentType: "application/pdf", Size: int64(i)}
	}
	return files
}

func manyFiles(s *models.Store, ctx context.Context, userID, n int) error {
	_, err := s.CreateFiles(ctx, userID, newFiles(n))
	return err
}
