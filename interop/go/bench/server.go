package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// server answers streams as the workload needs: "echo" gives back what comes until the end, "sink"
// checks a bulk transfer and answers how many bytes were right, "hold" gives back one byte and keeps
// the stream.
type server struct {
	action atomic.Value // string
	active atomic.Int64
	tally  atomic.Pointer[tally]

	mu   sync.Mutex
	held []stream
}

var buffers = sync.Pool{New: func() any { return make([]byte, blockSize) }}

func (s *server) accept(listener net.Listener, begin library) {
	for {
		conn, err := listener.Accept()
		exitOn(err)
		session, err := begin(conn, false)
		if err != nil {
			s.tally.Load().fail(err)
			continue
		}
		go s.serve(session)
	}
}

func (s *server) serve(session session) {
	for {
		stream, err := session.Accept()
		if err != nil {
			return // the session is over
		}
		s.active.Add(1)
		go func() {
			defer s.active.Add(-1)
			if err := s.answer(stream); err != nil {
				s.tally.Load().fail(err)
			}
		}()
	}
}

func (s *server) answer(stream stream) error {
	switch s.action.Load() {
	case "echo":
		return echo(stream)
	case "sink":
		return sink(stream)
	default:
		return s.hold(stream)
	}
}

// settled waits until no stream is being answered, and hands out the tally since it was last asked.
func (s *server) settled() *tally {
	patience := time.Now().Add(5 * time.Second)
	for s.active.Load() > 0 && time.Now().Before(patience) {
		time.Sleep(time.Millisecond)
	}
	t := s.tally.Swap(&tally{})
	if s.active.Load() > 0 {
		t.fail(errors.New("streams were left open"))
	}
	return t
}

func echo(stream stream) error {
	buffer := buffers.Get().([]byte)
	defer buffers.Put(buffer)
	for {
		n, err := stream.Read(buffer)
		if n > 0 {
			if _, err := stream.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return stream.Close()
		}
		if err != nil {
			return err
		}
	}
}

func sink(stream stream) error {
	buffer := buffers.Get().([]byte)
	defer buffers.Put(buffer)
	if _, err := io.ReadFull(stream, buffer[:1]); err != nil {
		return err
	}
	check := checker{position: int(buffer[0]) * blockSize}
	for {
		n, err := stream.Read(buffer)
		check.feed(buffer[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := stream.Write(binary.BigEndian.AppendUint64(nil, check.right)); err != nil {
		return err
	}
	return stream.Close()
}

func (s *server) hold(stream stream) error {
	buffer := make([]byte, 1)
	if _, err := io.ReadFull(stream, buffer); err != nil {
		return err
	}
	if _, err := stream.Write(buffer); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, stream)
	return nil
}
