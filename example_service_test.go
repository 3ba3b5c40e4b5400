package models_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reviewpoint/models"
	"github.com/reviewpoint/models/ent"
	"github.com/reviewpoint/models/ent/file"
)

type service struct {
	store *models.Store
	key   []byte                     // signs tokens and links: 32 random bytes or more, the same for each replica
	send  func(address, link string) // queues a mail; sending it at once would tell by the time who has an account
	log   *slog.Logger
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /register", serve(s, func(r *http.Request, in credentials) (any, error) {
		return s.store.Register(r.Context(), in.Email, in.Password)
	}))
	mux.Handle("POST /login", serve(s, s.login))
	mux.Handle("POST /forgot", serve(s, s.forgot))
	mux.Handle("POST /reset", serve(s, s.reset))
	mux.Handle("POST /logout", serve(s, signedIn(s, func(r *http.Request, _ any, token models.Claims) (any, error) {
		return nil, s.store.RevokeToken(r.Context(), token.ID, token.ExpiresAt)
	})))
	mux.Handle("GET /me", serve(s, signedIn(s, func(r *http.Request, _ any, token models.Claims) (any, error) {
		return s.store.UserByID(r.Context(), token.UserID)
	})))
	mux.Handle("POST /files", serve(s, signedIn(s, func(r *http.Request, in ent.File, token models.Claims) (any, error) {
		return s.store.File.Create().SetUserID(token.UserID).SetFilename(in.Filename).SetContentType(in.ContentType).SetSize(in.Size).Save(r.Context())
	})))
	mux.Handle("GET /files", serve(s, signedIn(s, func(r *http.Request, _ any, _ models.Claims) (any, error) {
		page, _ := strconv.Atoi(r.FormValue("page"))                                      // from 0
		newest := s.store.File.Query().Order(ent.Desc(file.FieldCreatedAt, file.FieldID)) // of the viewer alone
		return newest.Offset(20 * min(max(page, 0), 500)).Limit(20).All(r.Context())
	})))
	return mux
}

// serve lets a visitor ask, reads the body, and writes what do answers.
func serve[In any](s *service, do func(*http.Request, In) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(models.AsAnonymous(r.Context()), 10*time.Second)
		defer cancel()
		var in In
		status, answer := http.StatusOK, any(nil)
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in)
		if err == nil || r.ContentLength == 0 {
			answer, err = do(r.WithContext(ctx), in)
		} else {
			err = &models.ValidationError{Field: "body", Reason: "must be JSON of at most 64 KiB"}
		}
		if err != nil {
			status, answer = s.refusal(r, err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // It fails when the client has gone.
	})
}

// refusal tells the client what kind of error it is. The text of an error is for the log.
func (s *service) refusal(r *http.Request, err error) (status int, answer any) {
	if invalid, ok := errors.AsType[*models.ValidationError](err); ok {
		return http.StatusBadRequest, map[string]string{"error": "not accepted", "field": invalid.Field, "reason": invalid.Reason}
	}
	for _, known := range []struct {
		error
		status int
	}{
		{errToken, http.StatusUnauthorized}, {models.ErrInvalidCredentials, http.StatusUnauthorized}, {models.ErrTokenRevoked, http.StatusUnauthorized}, {models.ErrTokenExpired, http.StatusUnauthorized},
		{models.ErrForbidden, http.StatusForbidden}, {models.ErrAccountDisabled, http.StatusForbidden},
		{models.ErrNotFound, http.StatusNotFound}, {models.ErrEmailTaken, http.StatusConflict}, {models.ErrTokenUsed, http.StatusGone},
		{models.ErrBusy, http.StatusServiceUnavailable}, {models.ErrSerialization, http.StatusServiceUnavailable}, {context.DeadlineExceeded, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.error) {
			return known.status, map[string]string{"error": known.Error()}
		}
	}
	s.log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "error", err) // ErrNoViewer, for one
	return http.StatusInternalServerError, map[string]string{"error": "internal error"}
}

var errToken = errors.New("the token is not valid")

func (s *service) sign(audience, subject, id string, issuedAt, expiresAt time.Time) (string, error) {
	claims := jwt.RegisteredClaims{Audience: jwt.ClaimStrings{audience}, Subject: subject, ID: id}
	claims.IssuedAt, claims.ExpiresAt = jwt.NewNumericDate(issuedAt), jwt.NewNumericDate(expiresAt)
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.key)
}

func (s *service) verify(audience, signed string) (claims jwt.RegisteredClaims, err error) {
	_, err = jwt.ParseWithClaims(signed, &claims, func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	if err != nil || claims.IssuedAt == nil {
		return claims, errToken
	}
	return claims, nil
}

// signedIn lets the person ask whose token the request has.
func signedIn[In any](s *service, do func(*http.Request, In, models.Claims) (any, error)) func(*http.Request, In) (any, error) {
	return func(r *http.Request, in In) (any, error) {
		claims, err := s.verify("api", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if err != nil {
			return nil, err
		}
		id, _ := strconv.Atoi(claims.Subject) // CheckToken refuses 0.
		token := models.Claims{ID: claims.ID, UserID: id, IssuedAt: claims.IssuedAt.Time, ExpiresAt: claims.ExpiresAt.Time}
		if err := s.store.CheckToken(r.Context(), token); err != nil {
			return nil, err
		}
		return do(r.WithContext(models.WithViewer(r.Context(), models.Viewer{UserID: id})), in, token)
	}
}

type credentials struct{ Email, Password, Link string }

func (s *service) login(r *http.Request, in credentials) (any, error) {
	u, err := s.store.Authenticate(r.Context(), in.Email, in.Password)
	if err != nil {
		return nil, err
	}
	c := s.store.NewClaims(u, time.Hour)
	token, err := s.sign("api", strconv.Itoa(c.UserID), c.ID, c.IssuedAt, c.ExpiresAt)
	return map[string]string{"token": token}, err
}

func (s *service) forgot(r *http.Request, in credentials) (any, error) {
	u, err := s.store.UserByEmail(models.AsSystem(r.Context(), "forgot"), in.Email)
	if err != nil {
		return nil, ent.MaskNotFound(err) // Nobody learns who has an account.
	}
	link, err := s.sign("reset", u.Email, rand.Text(), time.Now(), time.Now().Add(30*time.Minute))
	if err == nil {
		s.send(u.Email, link)
	}
	return nil, err
}

func (s *service) reset(r *http.Request, in credentials) (any, error) {
	link, err := s.verify("reset", in.Link)
	if err == nil {
		err = s.store.ResetPassword(r.Context(), link.Subject, link.ID, in.Password)
	}
	return nil, err
}

// An HTTP service, from the first account to a forgotten password.
func Example_service() {
	store, err := models.Open(context.Background(), "sqlite://:memory:")
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if _, err := store.Migrate(context.Background()); err != nil {
		panic(err)
	}
	var token, link string
	s := &service{store: store, key: []byte(rand.Text() + rand.Text()), send: func(_, sent string) { link = sent }, log: slog.Default()}
	shown := regexp.MustCompile(`"(email|filename|reason)":"[^"]*"`)
	call := func(method, path, body string) []string {
		r, w := httptest.NewRequest(method, path, strings.NewReader(strings.Replace(body, "LINK", link, 1))), httptest.NewRecorder()
		r.Header.Set("Authorization", "Bearer "+token)
		s.handler().ServeHTTP(w, r)
		_, _ = fmt.Sscanf(w.Body.String(), `{"token":%q}`, &token)
		return append([]string{strconv.Itoa(w.Code)}, shown.FindAllString(w.Body.String(), -1)...)
	}
	ada, weak := `{"email":"ada@example.org","password":"correct horse"}`, `{"email":"bob@example.org","password":"short"}`
	later, reset := `{"email":"Ada@Example.org","password":"battery staple"}`, `{"link":"LINK","password":"battery staple"}`
	paper, data := `{"filename":"статья.pdf","content_type":"application/pdf","size":2048}`, `{"filename":"data.csv","content_type":"text/csv"}`
	fmt.Println("register, again, weakly:", call("POST", "/register", ada), call("POST", "/register", later), call("POST", "/register", weak))
	fmt.Println("log in wrongly, rightly, look:", call("POST", "/login", later), call("POST", "/login", ada), call("GET", "/me", ""))
	fmt.Println("upload, list:", call("POST", "/files", paper), call("POST", "/files", data), call("GET", "/files", ""))
	fmt.Println("log out, look, forgot, reset, again:", call("POST", "/logout", ""), call("GET", "/me", ""), call("POST", "/forgot", ada), call("POST", "/reset", reset), call("POST", "/reset", reset))
	fmt.Println("log in as before, as now, look:", call("POST", "/login", ada), call("POST", "/login", later), call("GET", "/me", ""))
	// Output:
	// register, again, weakly: [200 "email":"ada@example.org"] [409] [400 "reason":"must have at least 8 characters"]
	// log in wrongly, rightly, look: [401] [200] [200 "email":"ada@example.org"]
	// upload, list: [200 "filename":"статья.pdf"] [200 "filename":"data.csv"] [200 "filename":"data.csv" "filename":"статья.pdf"]
	// log out, look, forgot, reset, again: [200] [401] [200] [200] [410]
	// log in as before, as now, look: [401] [200] [200 "email":"ada@example.org"]
}
