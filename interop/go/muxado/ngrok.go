//go:build !inconshreveable

package main

import (
	"time"

	"golang.ngrok.com/muxado/v2"
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
	beatOnce              = (*muxado.Heartbeat).Beat
)

func newHeartbeat(session TypedStreamSession, config *HeartbeatConfig) *Heartbeat {
	return muxado.NewHeartbeat(session, func(time.Duration, bool) {}, config)
}
