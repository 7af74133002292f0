// Package puppet is the far end of a session, moved by a test.
//
// A program that runs it holds one session of a published multiplexer and knows nothing of the
// tests. Every line on its standard input is a command as a JSON object, {"id": 1, "do": "write",
// "stream": 3, "text": "x"}; every line on its standard output is what Go's API answered to the
// command of that id. The commands are the methods that every multiplexer has, so a test reads like a
// script for two actors, and never has to sleep: when an answer is there, it happened.
//
// Each command runs in a goroutine of its own. A Read that blocks therefore does not hold up the
// Write of the next line, and a test orders two commands by waiting for the answer to the first.
//
// The first line, without an id, is {"listening": "127.0.0.1:4711"} or {"connected": "..."}. The
// program exits when its standard input ends, so a test that dies leaves nothing behind.
//
// What differs between libraries is in the program's main package: it hands Run a Library. The rule
// for it: no workaround. A fault of the library is what the tests are here to meet.
package puppet

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// Stream is what all multiplexers agree on. One that can half close has CloseWrite() error too, one
// with types has Type() uint32.
type Stream interface {
	net.Conn
	ID() uint32
}

// Session is what all multiplexers agree on. One with types has OpenTyped(uint32) (Stream, error)
// too, one that can stop taking streams and go on has GoAway() error, one that measures the round
// trip has Ping() error.
type Session interface {
	Open() (Stream, error)
	Accept() (Stream, error)
	Close() error
}

// Library is one published module.
type Library struct {
	// Start begins a session. The library's own settings are flags of its program.
	Start func(conn net.Conn, client bool) (Session, error)
	// Code is the error code that came over the wire, where the library tells; may be nil.
	Code func(error) uint32
	// Verbs are commands that only this library has.
	Verbs map[string]Verb
}

// Verb runs one command and says what came of it.
type Verb func(*Puppet, Command) Fact

// Fact is one line of output.
type Fact map[string]any

// Puppet is the session, the streams a test has touched, and the way facts leave.
type Puppet struct {
	Session Session
	library Library

	mu      sync.Mutex // guards all below
	out     *json.Encoder
	streams map[uint32]Stream
}

// Run is the program: it returns when standard input ends.
func Run(library Library) {
	listen := flag.String("listen", "", "be the server of the first connection to HOST:PORT")
	connect := flag.String("connect", "", "be the client of a connection to HOST:PORT")
	flag.Parse()

	p := &Puppet{library: library, out: json.NewEncoder(os.Stdout), streams: make(map[uint32]Stream)}
	conn, err := p.dial(*listen, *connect)
	if err == nil {
		p.Session, err = library.Start(conn, *listen == "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "puppet:", err)
		os.Exit(1)
	}
	p.obey(os.Stdin)
}

func (p *Puppet) say(f Fact) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.Encode(f); err != nil {
		os.Exit(1) // nobody is listening any more
	}
}

func (p *Puppet) dial(listen, connect string) (net.Conn, error) {
	if listen == "" {
		conn, err := net.Dial("tcp", connect)
		if err == nil {
			p.say(Fact{"connected": conn.LocalAddr().String()})
		}
		return conn, err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	p.say(Fact{"listening": listener.Addr().String()})
	return listener.Accept()
}

// obey runs each line of commands, at once and in a goroutine of its own.
func (p *Puppet) obey(commands io.Reader) {
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		var c Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, "puppet: not a command:", lines.Text(), err)
			os.Exit(1)
		}
		do, known := verbs[c.Do]
		if !known {
			do, known = p.library.Verbs[c.Do]
		}
		if !known {
			fmt.Fprintln(os.Stderr, "puppet: unknown command:", lines.Text())
			os.Exit(1)
		}
		go func() {
			answer := do(p, c)
			answer["id"] = c.ID
			p.say(answer)
		}()
	}
}
