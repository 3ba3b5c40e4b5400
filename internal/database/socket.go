package database

import (
	"context"
	"net"
	"time"
)

// How long a server that is asked to cancel a statement may take to answer, before it counts as gone.
const cancelGrace = 2 * time.Second

// socketKey marks the context in which a connection is made.
type socketKey struct{}

// dialer dials for one connection, and keeps its socket. lib/pq does not look whether the server has
// closed an idle one, and a restarted server would cost each pooled connection a failed statement.
type dialer struct {
	net.Dialer
	conn *conn
	stop func() bool
}

// DialContext is called to connect, and again when the context of a statement has ended: then lib/pq
// asks the server, on a connection of its own, to cancel the statement, and waits for the answer
// however long that takes.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if making, ok := ctx.Value(socketKey{}).(context.Context); ok {
		socket, err := d.Dialer.DialContext(ctx, network, address)
		if err == nil {
			d.forgo()
			d.conn.socket = socket
			// lib/pq sets and clears deadlines of its own until the connection is made.
			d.stop = context.AfterFunc(making, func() { _ = socket.Close() })
		}
		return socket, err
	}
	d.conn.cancelled.Store(true)
	time.AfterFunc(d.conn.grace, d.conn.cut)
	ctx, stop := context.WithTimeout(ctx, d.conn.grace)
	defer stop()
	socket, err := d.Dialer.DialContext(ctx, network, address)
	if err == nil {
		time.AfterFunc(d.conn.grace, func() { _ = socket.Close() })
	}
	return socket, err
}

// forgo leaves the socket to the connection. It reports false when the context ended before.
func (d *dialer) forgo() bool { return d.stop == nil || d.stop() }

// DialTimeout is never called, for there is DialContext, but lib/pq asks for it.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// cut ends whatever reads from or writes to the socket.
func (c *conn) cut() { _ = c.socket.SetDeadline(time.Unix(1, 0)) }

// within runs call, of which lib/pq would wait for the answer whatever ctx says. One that ctx ends
// costs the connection.
func (c *conn) within(ctx context.Context, call func() error) error {
	if c.socket == nil {
		return call()
	}
	stop := context.AfterFunc(ctx, c.cut)
	err := call()
	if !stop() {
		c.cancelled.Store(true)
		return contextError(ctx)
	}
	return err
}
