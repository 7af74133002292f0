package main

import (
	"errors"
	"io"
	"net"

	"github.com/hashicorp/yamux"
	"github.com/xtaci/smux"
	"golang.ngrok.com/muxado/v2"
)

// stream is what the workloads need of one.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// session is what the workloads need of one.
type session interface {
	Open() (stream, error)
	Accept() (stream, error)
	Close() error
}

type library func(conn net.Conn, client bool) (session, error)

var libraries = map[string]library{
	"muxado": beginMuxado,
	"yamux":  beginYamux,
	"smux1":  func(conn net.Conn, client bool) (session, error) { return beginSmux(conn, client, 1) },
	"smux2":  func(conn net.Conn, client bool) (session, error) { return beginSmux(conn, client, 2) },
}

type muxadoSession struct{ muxado.Session }

func beginMuxado(conn net.Conn, client bool) (session, error) {
	if client {
		return muxadoSession{muxado.Client(conn, nil)}, nil
	}
	return muxadoSession{muxado.Server(conn, nil)}, nil
}

func (s muxadoSession) Open() (stream, error)   { return s.OpenStream() }
func (s muxadoSession) Accept() (stream, error) { return s.AcceptStream() }

type yamuxSession struct{ *yamux.Session }

// yamuxStream: what yamux calls Close leaves the other direction open.
type yamuxStream struct{ *yamux.Stream }

func (s yamuxStream) CloseWrite() error { return s.Stream.Close() }

func beginYamux(conn net.Conn, client bool) (session, error) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	begin := yamux.Server
	if client {
		begin = yamux.Client
	}
	started, err := begin(conn, config)
	return yamuxSession{started}, err
}

func (s yamuxSession) Open() (stream, error) {
	opened, err := s.OpenStream()
	return yamuxStream{opened}, err
}

func (s yamuxSession) Accept() (stream, error) {
	accepted, err := s.AcceptStream()
	return yamuxStream{accepted}, err
}

type smuxSession struct{ *smux.Session }

func beginSmux(conn net.Conn, client bool, version int) (session, error) {
	config := smux.DefaultConfig()
	config.Version = version
	begin := smux.Server
	if client {
		begin = smux.Client
	}
	started, err := begin(conn, config)
	return smuxSession{started}, err
}

// smuxStream: it is an error to close a stream that both sides have finished already.
type smuxStream struct{ *smux.Stream }

func (s smuxStream) Close() error {
	if err := s.Stream.Close(); !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

func (s smuxSession) Open() (stream, error) {
	opened, err := s.OpenStream()
	return smuxStream{opened}, err
}

func (s smuxSession) Accept() (stream, error) {
	accepted, err := s.AcceptStream()
	return smuxStream{accepted}, err
}
