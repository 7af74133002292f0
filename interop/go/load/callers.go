package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

const (
	pieces  = 256 << 10 // bytes read at once
	takings = 1 << 20   // exchanges for which there is room before memory is asked for
)

// caller is one connection in the middle of an exchange.
type caller struct {
	fd       int
	greeted  bool   // a handshake, if there is one, is behind it
	ask      []byte // what is to be sent still, before
	body     int    // so many bytes
	reader   reader // of the answer
	begun    time.Time
	answered bool // and what is left is the end of the connection
	blocked  bool // the socket takes nothing at the moment
}

// callers is all of them, in one thread.
type callers struct {
	target syscall.SockaddrInet4
	kind   exchange
	epoll  int
	open   map[int]*caller
	end    time.Time
	last   time.Time // an exchange was done
	took   []int64   // nanoseconds of each
	errors int
	first  error
	piece  []byte
	bytes  []byte // what bodies that go up are made of
}

func parse(address string) (syscall.SockaddrInet4, error) {
	found, err := netip.ParseAddrPort(address)
	if err != nil || !found.Addr().Is4() {
		return syscall.SockaddrInet4{}, fmt.Errorf("no HOST:PORT of IPv4: %q", address)
	}
	return syscall.SockaddrInet4{Port: int(found.Port()), Addr: found.Addr().As4()}, nil
}

func newCallers(target syscall.SockaddrInet4, kind exchange) (*callers, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &callers{
		target: target, kind: kind, epoll: epoll, open: map[int]*caller{}, took: make([]int64, 0, takings),
		piece: make([]byte, pieces), bytes: make([]byte, pieces),
	}, err
}

// run begins exchanges on so many connections until end, and waits for the last answer.
func (c *callers) run(connections int, end time.Time) {
	c.end, c.last = end, time.Now()
	for range connections {
		c.call()
	}
	events := make([]syscall.EpollEvent, 1024)
	for len(c.open) > 0 {
		ready, err := syscall.EpollWait(c.epoll, events, 100)
		if err != nil && err != syscall.EINTR {
			c.fail(err)
			return
		}
		for _, event := range events[:max(ready, 0)] {
			one := c.open[int(event.Fd)]
			if event.Events&syscall.EPOLLOUT != 0 {
				c.settle(one, c.write(one))
			}
			if event.Events&^syscall.EPOLLOUT != 0 && c.open[int(event.Fd)] == one {
				c.settle(one, c.read(one))
			}
		}
		if ready <= 0 && time.Since(c.end) > patience {
			c.fail(fmt.Errorf("%d exchanges without an answer", len(c.open)))
			return
		}
	}
}

// call makes a connection and begins an exchange on it. After an error it is not made anew: the run counts for nothing.
func (c *callers) call() {
	begun := time.Now()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		c.fail(err)
		return
	}
	one := &caller{fd: fd}
	c.open[fd] = one
	// One that is not there yet says EAGAIN to the first write, one that was refused says why.
	if err = syscall.Connect(fd, &c.target); err == syscall.EINPROGRESS {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
	}
	if err == nil {
		err = c.begin(one, begun)
	}
	c.settle(one, err)
}

func (c *callers) begin(one *caller, at time.Time) error {
	one.begun = at
	if one.greeted || c.kind.greeting == nil {
		one.greeted = true
		one.ask, one.body, one.reader = c.kind.ask, c.kind.up, c.kind.answer
	} else {
		one.ask, one.body, one.reader = c.kind.greeting, 0, c.kind.welcome
	}
	return c.write(one)
}

// write sends what the socket takes, and asks to be told when it takes more.
func (c *callers) write(one *caller) error {
	for len(one.ask)+one.body > 0 {
		piece := one.ask
		if len(piece) == 0 {
			piece = c.bytes[:min(len(c.bytes), one.body)]
		}
		sent, err := syscall.Write(one.fd, piece)
		if err == syscall.EAGAIN {
			return c.block(one, true)
		}
		if err != nil {
			return err
		}
		if len(one.ask) > 0 {
			one.ask = one.ask[sent:]
		} else {
			one.body -= sent
		}
	}
	return c.block(one, false)
}

func (c *callers) block(one *caller, blocked bool) error {
	if one.blocked == blocked {
		return nil
	}
	one.blocked = blocked
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(one.fd)}
	if blocked {
		event.Events |= syscall.EPOLLOUT
	}
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_MOD, one.fd, &event)
}

// read takes a piece of the answer, and goes on to the next exchange behind it.
func (c *callers) read(one *caller) error {
	count, err := syscall.Read(one.fd, c.piece)
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil:
		return err
	case count == 0 && one.answered:
		c.count(one)
		return done
	case count == 0:
		return fmt.Errorf("the connection ended before the answer")
	case one.answered:
		return fmt.Errorf("%d bytes behind the answer", count)
	}
	whole, err := one.reader.take(c.piece[:count])
	if err != nil || !whole {
		return err
	}
	if len(one.ask)+one.body > 0 {
		return fmt.Errorf("an answer before the question was whole")
	}
	if !one.greeted { // the time of an exchange begins behind it
		one.greeted = true
		return c.begin(one, time.Now())
	}
	if c.kind.closes {
		one.answered = true
		return nil
	}
	c.count(one)
	if c.last.After(c.end) {
		return done
	}
	return c.begin(one, c.last)
}

func (c *callers) count(one *caller) {
	c.last = time.Now()
	c.took = append(c.took, c.last.Sub(one.begun).Nanoseconds())
}

// done ends a connection that did what it was there for.
var done = fmt.Errorf("done")

// settle closes a connection that is done or broken, and makes the next one.
func (c *callers) settle(one *caller, err error) {
	if err == nil {
		return
	}
	delete(c.open, one.fd)
	syscall.Close(one.fd)
	if err != done {
		c.fail(err)
	} else if c.last.Before(c.end) {
		c.call()
	}
}

func (c *callers) fail(err error) {
	c.errors++
	if c.first == nil {
		c.first = err
	}
}
