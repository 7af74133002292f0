package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	messageSize = 64
	openers     = 64 // streams being opened at a time for hold
)

var (
	errDiffers = errors.New("what came back differs from what was sent")
	errRefused = errors.New("the server counted other bytes than were sent")
)

// client runs workloads, each in a session of its own.
type client struct {
	dial    func() (session, error)
	session session // nil before run and hold, and after close
	held    []stream
}

var actions = map[string]func(session, int, time.Time, *tally) error{
	"calls":    calls,
	"messages": messages,
	"bulk":     bulk,
}

// run: "streams" workers do "action" for "seconds", in a session that lasts until close.
func (c *client) run(k command) fact {
	return c.timed(func(t *tally, begin time.Time) {
		deadline := begin.Add(time.Duration(k.Seconds * float64(time.Second)))
		atOnce(k.Streams, t, func(worker int) error {
			return actions[k.Action](c.session, worker, deadline, t)
		})
	})
}

func (c *client) timed(work func(*tally, time.Time)) fact {
	t := &tally{}
	if c.session == nil {
		session, err := c.dial()
		if err != nil {
			t.fail(err)
			return t.facts()
		}
		c.session = session
	}
	begin := time.Now()
	work(t, begin)
	f := t.facts()
	f["seconds"] = time.Since(begin).Seconds()
	return f
}

// close: end the session. Its errors do not count, everything was answered before.
func (c *client) close(command) fact {
	if c.session != nil {
		_ = c.session.Close()
		c.session = nil
	}
	return fact{}
}

// hold: open "streams" more, send a byte there and back on each, and keep them.
func (c *client) hold(k command) fact {
	tickets := make(chan struct{}, k.Streams)
	for range k.Streams {
		tickets <- struct{}{}
	}
	close(tickets)
	var mu sync.Mutex
	return c.timed(func(t *tally, _ time.Time) {
		atOnce(min(openers, k.Streams), t, func(int) error {
			for range tickets {
				stream, err := c.session.Open()
				if err == nil {
					err = exchange(stream, []byte{'x'}, make([]byte, 1))
				}
				if err != nil {
					return err
				}
				mu.Lock()
				c.held = append(c.held, stream)
				mu.Unlock()
				t.done.Add(1)
			}
			return nil
		})
	})
}

func atOnce(workers int, t *tally, work func(worker int) error) {
	var all sync.WaitGroup
	for worker := range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := work(worker); err != nil {
				t.fail(err)
			}
		}()
	}
	all.Wait()
}

func exchange(s stream, question, answer []byte) error {
	if _, err := s.Write(question); err != nil {
		return err
	}
	if _, err := io.ReadFull(s, answer); err != nil {
		return err
	}
	if !bytes.Equal(question, answer) {
		return errDiffers
	}
	return nil
}

// calls: open, echo, close.
func calls(s session, worker int, deadline time.Time, t *tally) error {
	answer := make([]byte, messageSize)
	for turn := worker * 1000; time.Now().Before(deadline); turn++ {
		stream, err := s.Open()
		if err != nil {
			return err
		}
		if err := exchange(stream, piece(turn, messageSize), answer); err != nil {
			return err
		}
		if err := stream.Close(); err != nil {
			return err
		}
		t.done.Add(1)
	}
	return nil
}

// messages: there and back on one open stream.
func messages(s session, worker int, deadline time.Time, t *tally) error {
	stream, err := s.Open()
	if err != nil {
		return err
	}
	answer := make([]byte, messageSize)
	for turn := worker * 1000; time.Now().Before(deadline); turn++ {
		if err := exchange(stream, piece(turn, messageSize), answer); err != nil {
			return err
		}
		t.done.Add(1)
	}
	return stream.Close()
}

// bulk: blocks one way; the server answers how many bytes were right.
func bulk(s session, worker int, deadline time.Time, t *tally) error {
	stream, err := s.Open()
	if err != nil {
		return err
	}
	at := worker % blocks
	if _, err := stream.Write([]byte{byte(at)}); err != nil {
		return err
	}
	sent := uint64(0)
	for ; time.Now().Before(deadline); at = (at + 1) % blocks {
		if _, err := stream.Write(block(at)); err != nil {
			return err
		}
		sent += blockSize
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	answer := make([]byte, 8)
	if _, err := io.ReadFull(stream, answer); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(answer) != sent {
		return errRefused
	}
	t.done.Add(int64(sent))
	return stream.Close()
}
