// Command yamux is a puppet that speaks hashicorp's yamux.
package main

import (
	"flag"
	"io"
	"net"
	"time"

	"github.com/hashicorp/yamux"

	"interop/go/puppet"
)

var (
	backlog   = flag.Int("backlog", 256, "Config.AcceptBacklog, in streams")
	window    = flag.Uint("window", 256*1024, "Config.MaxStreamWindowSize, in bytes")
	keepalive = flag.Duration("keepalive", 30*time.Second, "Config.KeepAliveInterval")
	patience  = flag.Duration("patience", 10*time.Second, "Config.ConnectionWriteTimeout, for pongs too")
	linger    = flag.Duration("linger", 5*time.Minute, "Config.StreamCloseTimeout")
)

func main() { puppet.Run(puppet.Library{Start: start}) }

func start(conn net.Conn, client bool) (puppet.Session, error) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	config.AcceptBacklog = *backlog
	config.MaxStreamWindowSize = uint32(*window)
	config.KeepAliveInterval = *keepalive
	config.ConnectionWriteTimeout = *patience
	config.StreamCloseTimeout = *linger
	begin := yamux.Server
	if client {
		begin = yamux.Client
	}
	started, err := begin(conn, config)
	return session{started}, err
}

type stream struct{ *yamux.Stream }

func (s stream) ID() uint32 { return s.StreamID() }

// CloseWrite: what yamux calls Close leaves the other direction open.
func (s stream) CloseWrite() error { return s.Stream.Close() }

type session struct{ *yamux.Session }

func (s session) Open() (puppet.Stream, error) {
	opened, err := s.OpenStream()
	return stream{opened}, err
}

func (s session) Accept() (puppet.Stream, error) {
	accepted, err := s.AcceptStream()
	return stream{accepted}, err
}

func (s session) Ping() error {
	_, err := s.Session.Ping()
	return err
}
