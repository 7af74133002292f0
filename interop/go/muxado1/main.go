// Command muxado1 is a puppet that speaks the first muxado protocol, by the library as it was in
// 2014. It begins its sessions as muxado.Client and muxado.Server do, with heartbeats of its own.
package main

import (
	"flag"
	"net"
	"time"

	"github.com/inconshreveable/muxado/proto"
	"github.com/inconshreveable/muxado/proto/ext"
	"github.com/inconshreveable/muxado/proto/frame"

	"interop/go/puppet"
)

var (
	interval = flag.Duration("keepalive", 3*time.Second, "between heartbeats")
	patience = flag.Duration("patience", 10*time.Second, "for the answer to a heartbeat")
)

func main() { puppet.Run(puppet.Library{Start: start}) }

func start(conn net.Conn, client bool) (puppet.Session, error) {
	heart := ext.NewHeartbeat(*interval, *patience)
	return session{proto.NewSession(conn, proto.NewStream, client, []proto.Extension{heart})}, nil
}

type stream struct{ proto.IStream }

func (s stream) ID() uint32 { return uint32(s.Id()) }

func (s stream) Type() uint32 { return uint32(s.StreamType()) }

func (s stream) CloseWrite() error {
	_, err := s.HalfClose(nil)
	return err
}

type session struct{ proto.ISession }

func (s session) Open() (puppet.Stream, error) {
	opened, err := s.ISession.Open()
	return stream{opened}, err
}

func (s session) OpenTyped(kind uint32) (puppet.Stream, error) {
	opened, err := s.OpenStream(0, frame.StreamType(kind), false)
	return stream{opened}, err
}

func (s session) Accept() (puppet.Stream, error) {
	accepted, err := s.ISession.Accept()
	return stream{accepted}, err
}

func (s session) GoAway() error { return s.ISession.GoAway(frame.NoError, nil) }
