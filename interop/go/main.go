// Command peer is a puppet: the far end of a muxado session, moved by a test.
//
// It holds one session of the published module and knows nothing of the tests. Every line on its
// standard input is a command as a JSON object, {"id": 1, "do": "write", "stream": 3, "text": "x"};
// every line on its standard output is what Go's API answered to the command of that id. The
// commands are the methods of muxado.Session and muxado.Stream, so a test reads like a script for
// two actors, and never has to sleep: when an answer is there, it happened.
//
// Each command runs in a goroutine of its own. A Read that blocks therefore does not hold up the
// Write of the next line, and a test orders two commands by waiting for the answer to the first.
//
// The first line, without an id, is {"listening": "127.0.0.1:4711"} or {"connected": "..."}. The
// peer exits when its standard input ends, so a test that dies leaves nothing behind.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.ngrok.com/muxado/v2"
)

func main() {
	listen := flag.String("listen", "", "be the muxado server of the first connection to HOST:PORT")
	connect := flag.String("connect", "", "be the muxado client of a connection to HOST:PORT")
	backlog := flag.Uint("backlog", 0, "Config.AcceptBacklog, in streams; 0 is Go's default")
	window := flag.Uint("window", 0, "Config.MaxWindowSize, in bytes; 0 is Go's default")
	typed := flag.Bool("typed", false, "wrap the session with NewTypedStreamSession and NewHeartbeat")
	flag.Parse()

	p := &puppet{out: json.NewEncoder(os.Stdout), streams: make(map[uint32]muxado.Stream)}
	conn, err := p.dial(*listen, *connect)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
	config := &muxado.Config{AcceptBacklog: uint32(*backlog), MaxWindowSize: uint32(*window)}
	if *listen != "" {
		p.session = muxado.Server(conn, config)
	} else {
		p.session = muxado.Client(conn, config)
	}
	if *typed {
		p.typed = muxado.NewTypedStreamSession(p.session)
		beats := muxado.NewHeartbeatConfig()
		beats.Interval = time.Hour // only when a test says so
		p.heart = muxado.NewHeartbeat(p.typed, func(time.Duration, bool) {}, beats)
		p.session, p.typed = p.heart, p.heart
	}
	p.obey(os.Stdin)
}

// puppet is the session, the streams a test has touched, and the way facts leave.
type puppet struct {
	session muxado.Session
	typed   muxado.TypedStreamSession // nil without -typed
	heart   *muxado.Heartbeat         // nil without -typed

	mu      sync.Mutex // guards all below
	out     *json.Encoder
	streams map[uint32]muxado.Stream
}

// fact is one line of output.
type fact map[string]any

func (p *puppet) say(f fact) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.Encode(f); err != nil {
		os.Exit(1) // nobody is listening any more
	}
}

func (p *puppet) dial(listen, connect string) (net.Conn, error) {
	if listen == "" {
		conn, err := net.Dial("tcp", connect)
		if err == nil {
			p.say(fact{"connected": conn.LocalAddr().String()})
		}
		return conn, err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	p.say(fact{"listening": listener.Addr().String()})
	return listener.Accept()
}

// obey runs each line of commands, at once and in a goroutine of its own.
func (p *puppet) obey(commands io.Reader) {
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, "peer: not a command:", lines.Text(), err)
			os.Exit(1)
		}
		do, known := verbs[c.Do]
		if !known {
			fmt.Fprintln(os.Stderr, "peer: unknown command:", lines.Text())
			os.Exit(1)
		}
		go func() {
			answer := do(p, c)
			answer["id"] = c.ID
			p.say(answer)
		}()
	}
}
