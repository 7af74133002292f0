//go:build inconshreveable

package main

import (
	"time"

	"github.com/inconshreveable/muxado"
)

type (
	Config             = muxado.Config
	Heartbeat          = muxado.Heartbeat
	HeartbeatConfig    = muxado.HeartbeatConfig
	Session            = muxado.Session
	Stream             = muxado.Stream
	StreamType         = muxado.StreamType
	TypedStreamSession = muxado.TypedStreamSession
)

var (
	newClient             = muxado.Client
	newServer             = muxado.Server
	newTypedStreamSession = muxado.NewTypedStreamSession
	newHeartbeatConfig    = muxado.NewHeartbeatConfig
	getError              = muxado.GetError
)

func newHeartbeat(session TypedStreamSession, config *HeartbeatConfig) *Heartbeat {
	return muxado.NewHeartbeat(session, func(time.Duration) {}, config)
}

// beatOnce: this library beats by its clock only.
func beatOnce(*Heartbeat) (time.Duration, bool) { return 0, false }
