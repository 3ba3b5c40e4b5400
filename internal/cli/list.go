package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reviewpoint/models"
)

// listing is the flags that the lists of rows have in common.
type listing struct {
	sorts        []models.Sort
	sort         string
	descending   bool
	limit        int
	since, until string
	from, before time.Time // since and until
}

// flags adds them to a command. The first of the sorts is the default.
func (l *listing) flags(command *cobra.Command, sorts ...models.Sort) {
	l.sorts = sorts
	command.Flags().StringVar(&l.sort, "sort", string(sorts[0]), "sort by this `column`: "+l.columns())
	oneOf(command, "sort", strings.Split(l.columns(), ", ")...)
	command.Flags().BoolVar(&l.descending, "desc", false, "the other way round: newest or largest first")
	command.Flags().IntVar(&l.limit, "limit", 50, "at most `N` rows; 0 for all")
	command.Flags().StringVar(&l.since, "since", "", "made at or after this `time`: 2026-11-23, 2026-11-23T15:04:05Z, or 24h for a day ago; in UTC")
	command.Flags().StringVar(&l.until, "until", "", "made before this `time`")
}

func (l *listing) columns() string {
	names := make([]string, len(l.sorts))
	for i, sort := range l.sorts {
		names[i] = string(sort)
	}
	return strings.Join(names, ", ")
}

// parse finds what is wrong with the flags.
func (l *listing) parse(now time.Time) (err error) {
	switch {
	case l.limit < 0:
		return fmt.Errorf("--limit is %d: give 0 for all", l.limit)
	case !slices.Contains(l.sorts, models.Sort(l.sort)):
		return fmt.Errorf("--sort is %q: give one of %s", l.sort, l.columns())
	}
	if l.from, err = parseTime("--since", l.since, now, ago); err != nil {
		return err
	}
	if l.before, err = parseTime("--until", l.until, now, ago); err != nil {
		return err
	}
	if !l.from.IsZero() && !l.before.IsZero() && !l.from.Before(l.before) {
		return fmt.Errorf("--since %s is not before --until %s", l.since, l.until)
	}
	return nil
}

// filterFlags are the flags that give the fields of a filter.
var filterFlags = map[string]string{
	"text": "--search", "filename": "--name", "content_type": "--type", "min_size": "--min-size", "max_size": "--max-size",
}

// pages reads a list on from where it came to, by so many rows each time.
func pages[T any](l *listing, list func(models.PageRequest) (*models.Page[T], error)) func(n int) ([]T, error) {
	request := models.PageRequest{Sort: models.Sort(l.sort), Order: models.Ascending}
	if l.descending {
		request.Order = models.Descending
	}
	return func(n int) ([]T, error) {
		if request.Limit != 0 && request.After == "" {
			return nil, nil // The last page was the end.
		}
		request.Limit = n
		p, err := list(request)
		if wrong, ok := errors.AsType[*models.ValidationError](err); ok && filterFlags[wrong.Field] != "" {
			return nil, misuse{fmt.Errorf("%s: %s", filterFlags[wrong.Field], wrong.Reason)}
		}
		if err != nil {
			return nil, err
		}
		request.After = p.Next
		return p.Items, nil
	}
}
