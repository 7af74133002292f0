// Command muxado is a puppet that speaks the second muxado protocol, by the library of ngrok.go or,
// with the build tag of the same name, of inconshreveable.go.
package main

import (
	"flag"
	"net"
	"time"

	"interop/go/puppet"
)

var (
	backlog = flag.Uint("backlog", 0, "Config.AcceptBacklog, in streams; 0 is Go's default")
	window  = flag.Uint("window", 0, "Config.MaxWindowSize, in bytes; 0 is Go's default")
	typed   = flag.Bool("typed", false, "wrap the session with NewTypedStreamSession and NewHeartbeat")
	beats   = flag.Duration("keepalive", time.Hour, "HeartbeatConfig.Interval; an hour: only when told")
)

func main() {
	puppet.Run(puppet.Library{
		Start: start,
		Code:  code,
		Verbs: map[string]puppet.Verb{"start_beating": startBeating, "beat": beat, "wait": wait},
	})
}

func start(conn net.Conn, client bool) (puppet.Session, error) {
	config := &Config{AcceptBacklog: uint32(*backlog), MaxWindowSize: uint32(*window)}
	begin := newServer
	if client {
		begin = newClient
	}
	plain := session{begin(conn, config)}
	if !*typed {
		return plain, nil
	}
	heartbeats := newHeartbeatConfig()
	heartbeats.Interval = *beats
	heart := newHeartbeat(newTypedStreamSession(plain.Session), heartbeats)
	if *beats < time.Hour {
		heart.Start()
	}
	return typedSession{session{heart}, heart}, nil
}

func code(err error) uint32 {
	code, _ := getError(err)
	return uint32(code)
}

type stream struct{ Stream }

func (s stream) ID() uint32 { return s.Id() }

type session struct{ Session }

// Open: Go sends no frame before the first Write.
func (s session) Open() (puppet.Stream, error) {
	opened, err := s.OpenStream()
	return stream{opened}, err
}

func (s session) Accept() (puppet.Stream, error) {
	accepted, err := s.AcceptStream()
	return stream{accepted}, err
}

type typedStream struct {
	stream
	kind uint32
}

func (s typedStream) Type() uint32 { return s.kind }

type typedSession struct {
	session
	heart *Heartbeat
}

func (s typedSession) OpenTyped(kind uint32) (puppet.Stream, error) {
	opened, err := s.heart.OpenTypedStream(StreamType(kind))
	return stream{opened}, err
}

func (s typedSession) Accept() (puppet.Stream, error) {
	accepted, err := s.heart.AcceptTypedStream()
	if err != nil {
		return nil, err
	}
	return typedStream{stream{accepted}, uint32(accepted.StreamType())}, nil
}

// start_beating: Heartbeat.Start, which opens Go's heartbeat stream towards the other side.
func startBeating(p *puppet.Puppet, _ puppet.Command) puppet.Fact {
	p.Session.(typedSession).heart.Start()
	return puppet.Fact{}
}

// beat: Heartbeat.Beat, one round trip on demand.
func beat(p *puppet.Puppet, _ puppet.Command) puppet.Fact {
	latency, answered := beatOnce(p.Session.(typedSession).heart)
	return puppet.Fact{"answered": answered, "seconds": latency.Seconds()}
}

// wait: Session.Wait: why Go ended the session, and what the last GOAWAY from the other side said.
func wait(p *puppet.Puppet, _ puppet.Command) puppet.Fact {
	local, remote, debug := p.Session.(interface {
		Wait() (error, error, []byte)
	}).Wait()
	f := p.Failure(puppet.Fact{}, local)
	if remote != nil {
		f["goaway"], f["debug"] = code(remote), string(debug)
	}
	return f
}
