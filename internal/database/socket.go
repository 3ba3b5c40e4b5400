package database

import (
	"context"
	"net"
	"time"
)

// socketKey is where a context carries the place for the socket that is dialed with it.
type socketKey struct{}

// dialer hands out the socket of a connection. lib/pq does not look whether the server has closed an
// idle one, and a restarted server would cost each pooled connection a failed statement.
type dialer struct{ net.Dialer }

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	socket, err := d.Dialer.DialContext(ctx, network, address)
	if place, ok := ctx.Value(socketKey{}).(*net.Conn); ok && err == nil {
		*place = socket
	}
	return socket, err
}

// DialTimeout is never called, for there is DialContext, but lib/pq asks for it.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
