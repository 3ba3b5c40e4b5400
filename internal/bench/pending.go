package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

// Stand-ins for what the store does not have yet. When it has, this file goes: each name is then that of
// the package models.

type (
	// NewFile is models.NewFile.
	NewFile struct {
		Filename, ContentType string
		Size                  int64
	}
	// FileFilter is models.FileFilter.
	FileFilter struct{ UserID int }
	// PageRequest is models.PageRequest.
	PageRequest struct {
		Limit         int
		After, Before string
		WithTotal     bool
	}
	// Page is models.Page.
	Page[T any] struct {
		Items      []T
		Next, Prev string
		Total      *int
	}
	// ImportOptions is models.ImportOptions.
	ImportOptions struct{}
	// ImportReport is models.ImportReport.
	ImportReport struct{}
	// Store is models.Store.
	Store struct{ *models.Store }
)

// CreateFiles is models.Store.CreateFiles.
func (s Store) CreateFiles(ctx context.Context, userID int, files []NewFile) ([]*ent.File, error) {
	return s.File.MapCreateBulk(files, func(c *ent.FileCreate, i int) {
		c.SetFilename(files[i].Filename).SetContentType(files[i].ContentType).SetSize(files[i].Size).SetUserID(userID)
	}).Save(ctx)
}

// ListFiles is models.Store.ListFiles.
func (s Store) ListFiles(ctx context.Context, filter FileFilter, page PageRequest) (*Page[*ent.File], error) {
	query := s.File.Query().Where(file.UserID(filter.UserID))
	if page.After != "" {
		micros, id, _ := strings.Cut(page.After, " ")
		createdAt, err := strconv.ParseInt(micros, 10, 64)
		if err != nil {
			return nil, err
		}
		last, err := strconv.Atoi(id)
		if err != nil {
			return nil, err
		}
		query.Where(beyond(place{createdAt: time.UnixMicro(createdAt), id: last}))
	}
	files, err := query.Order(file.ByCreatedAt(entsql.OrderDesc()), file.ByID(entsql.OrderDesc())).Limit(page.Limit).All(ctx)
	if err != nil {
		return nil, err
	}
	out := &Page[*ent.File]{Items: files}
	if len(files) == page.Limit {
		last := files[len(files)-1]
		out.Next = fmt.Sprint(last.CreatedAt.UnixMicro(), last.ID)
	}
	return out, nil
}

// ImportUsers is models.Store.ImportUsers.
func (s Store) ImportUsers(ctx context.Context, r io.Reader, _ ImportOptions) (*ImportReport, error) {
	list, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return &ImportReport{}, importByClient(ctx, s.Store, string(list))
}
