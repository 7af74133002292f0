// Command bench is one process of a benchmark: the client or the server of a published multiplexer.
//
// A pair of them, over loopback, is what interop/bench measures muxado_py against; the programs in
// interop/bench/actors are the same pair for Python. Every line on standard input is a command as a
// JSON object, every line on standard output is what came of it, in order. The first line says
// {"address": "127.0.0.1:4711"}. The program exits when its standard input ends.
//
// The rule: each library gets its own defaults, and the best that an application can do with its API.
// The commands and their fields are those of interop/bench/actors/stage.py; whoever changes one
// changes both.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// command is one line of input. Only the fields its verb names are read.
type command struct {
	Do      string  `json:"do"`
	Action  string  `json:"action"`  // calls, messages, bulk or hold
	Streams int     `json:"streams"` // at a time
	Seconds float64 `json:"seconds"`
}

// fact is one line of output.
type fact map[string]any

// tally counts what was done and what went wrong.
type tally struct {
	done   atomic.Int64 // calls, messages, bytes or streams
	errors atomic.Int64
	first  sync.Once
	what   atomic.Value
}

func (t *tally) fail(err error) {
	t.errors.Add(1)
	t.first.Do(func() { t.what.Store(err.Error()) })
}

func (t *tally) facts() fact {
	what, _ := t.what.Load().(string)
	return fact{"done": t.done.Load(), "errors": t.errors.Load(), "first_error": what}
}

func main() {
	name := flag.String("library", "", "muxado, yamux, smux1 or smux2")
	connect := flag.String("connect", "", "be the client of HOST:PORT; else the server of a free port")
	flag.Parse()
	begin, known := libraries[*name]
	if !known {
		fmt.Fprintln(os.Stderr, "bench: unknown library:", *name)
		os.Exit(2)
	}
	if *connect == "" {
		beServer(begin)
	} else {
		beClient(begin, *connect)
	}
}

func beServer(begin library) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	exitOn(err)
	say(fact{"address": listener.Addr().String()})
	s := &server{}
	s.tally.Store(&tally{})
	go s.accept(listener, begin)
	obey(map[string]func(command) fact{
		"serve":  func(c command) fact { s.action.Store(c.Action); return fact{} },
		"errors": func(command) fact { return s.settled().facts() },
		"settle": settle,
	})
}

func beClient(begin library, address string) {
	say(fact{"address": address})
	c := &client{dial: func() (session, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		return begin(conn, true)
	}}
	obey(map[string]func(command) fact{
		"run": c.run, "hold": c.hold, "close": c.close, "settle": settle,
	})
}

// settle gives back what memory can be given back, so that what is left is what is needed.
func settle(command) fact {
	debug.FreeOSMemory()
	return fact{}
}

func obey(verbs map[string]func(command) fact) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		exitOn(json.Unmarshal(lines.Bytes(), &c))
		say(verbs[c.Do](c))
	}
}

func say(f fact) { exitOn(json.NewEncoder(os.Stdout).Encode(f)) }

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
