// Command smux is a puppet that speaks xtaci's smux, version 1 or 2 of its protocol.
package main

import (
	"flag"
	"net"
	"time"

	"github.com/xtaci/smux"

	"interop/go/puppet"
)

var (
	version   = flag.Int("version", 1, "Config.Version of the protocol")
	window    = flag.Int("window", 65536, "Config.MaxStreamBuffer, in bytes; of version 2")
	bucket    = flag.Int("bucket", 4194304, "Config.MaxReceiveBuffer, in bytes")
	keepalive = flag.Duration("keepalive", 10*time.Second, "Config.KeepAliveInterval")
	patience  = flag.Duration("patience", 30*time.Second, "Config.KeepAliveTimeout")
)

func main() { puppet.Run(puppet.Library{Start: start}) }

func start(conn net.Conn, client bool) (puppet.Session, error) {
	config := smux.DefaultConfig()
	config.Version = *version
	config.MaxStreamBuffer = *window
	config.MaxReceiveBuffer = *bucket
	config.KeepAliveInterval = *keepalive
	config.KeepAliveTimeout = *patience
	begin := smux.Server
	if client {
		begin = smux.Client
	}
	started, err := begin(conn, config)
	return session{started}, err
}

type session struct{ *smux.Session }

func (s session) Open() (puppet.Stream, error) { return s.OpenStream() }

func (s session) Accept() (puppet.Stream, error) { return s.AcceptStream() }
