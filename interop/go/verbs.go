package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"

	"golang.ngrok.com/muxado/v2"
)

// command is one line of input. Only the fields its verb names are read.
type command struct {
	ID     int     `json:"id"`
	Do     string  `json:"do"`
	Stream uint32  `json:"stream"`
	Text   string  `json:"text"`
	Size   int     `json:"size"`  // bytes
	Count  int     `json:"count"` // streams
	Chunk  int     `json:"chunk"` // bytes a Write; 0: all in one
	Type   *uint32 `json:"type"`
}

var verbs = map[string]func(*puppet, command) fact{
	"open":          (*puppet).open,
	"accept":        (*puppet).accept,
	"write":         (*puppet).write,
	"read":          (*puppet).read,
	"close_write":   (*puppet).closeWrite,
	"close":         (*puppet).close,
	"serve_echo":    (*puppet).serveEcho,
	"call_echo":     (*puppet).callEcho,
	"start_beating": (*puppet).startBeating,
	"beat":          (*puppet).beat,
	"close_session": (*puppet).closeSession,
	"wait":          (*puppet).wait,
}

// failure adds what an error says. End of file is "EOF" without a code; the rest has muxado's.
func failure(f fact, err error) fact {
	if err == nil {
		return f
	}
	f["error"] = err.Error()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		code, _ := muxado.GetError(err)
		f["code"] = code
	}
	return f
}

func (p *puppet) keep(stream muxado.Stream) fact {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[stream.Id()] = stream
	return fact{"stream": stream.Id()}
}

func (p *puppet) stream(c command) muxado.Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams[c.Stream]
}

// open: Session.OpenStream, or OpenTypedStream with "type". Go sends no frame for the former.
func (p *puppet) open(c command) fact {
	var stream muxado.Stream
	var err error
	if c.Type != nil {
		stream, err = p.typed.OpenTypedStream(muxado.StreamType(*c.Type))
	} else {
		stream, err = p.session.OpenStream()
	}
	if err != nil {
		return failure(fact{}, err)
	}
	return p.keep(stream)
}

// accept: Session.AcceptStream, or AcceptTypedStream with -typed.
func (p *puppet) accept(command) fact {
	if p.typed == nil {
		stream, err := p.session.AcceptStream()
		if err != nil {
			return failure(fact{}, err)
		}
		return p.keep(stream)
	}
	stream, err := p.typed.AcceptTypedStream()
	if err != nil {
		return failure(fact{}, err)
	}
	f := p.keep(stream)
	f["type"] = stream.StreamType()
	return f
}

// write: Stream.Write of "text", or of "size" random bytes, "chunk" bytes a call.
func (p *puppet) write(c command) fact {
	data := []byte(c.Text)
	if c.Size > 0 {
		data = randomBytes(c.Size)
	}
	chunk := c.Chunk
	if chunk == 0 {
		chunk = max(len(data), 1)
	}
	written, err := 0, error(nil)
	for written < len(data) && err == nil {
		var n int
		n, err = p.stream(c).Write(data[written:min(written+chunk, len(data))])
		written += n
	}
	sum := sha256.Sum256(data[:written])
	return failure(fact{"bytes": written, "sha256": hex.EncodeToString(sum[:])}, err)
}

// read: "size" bytes (0: until there are no more). The text is given when it is short.
func (p *puppet) read(c command) fact {
	var source io.Reader = p.stream(c)
	if c.Size > 0 {
		source = io.LimitReader(source, int64(c.Size))
	}
	sum, start := sha256.New(), new(bytes.Buffer)
	buffer := make([]byte, 64*1024)
	count, err := 0, error(nil)
	for err == nil && (c.Size == 0 || count < c.Size) {
		var n int
		n, err = source.Read(buffer)
		count += n
		sum.Write(buffer[:n])
		start.Write(buffer[:min(n, max(0, 256-start.Len()))])
	}
	f := fact{"bytes": count, "sha256": hex.EncodeToString(sum.Sum(nil))}
	if count <= 256 {
		f["text"] = start.String()
	}
	return failure(f, err)
}

func (p *puppet) closeWrite(c command) fact {
	return failure(fact{}, p.stream(c).CloseWrite())
}

func (p *puppet) close(c command) fact {
	return failure(fact{}, p.stream(c).Close())
}

// serveEcho: accept streams and send back what they carry, until the session ends.
func (p *puppet) serveEcho(command) fact {
	var streams sync.WaitGroup
	served := 0
	for {
		stream, err := p.session.AcceptStream()
		if err != nil {
			streams.Wait()
			return failure(fact{"served": served}, err)
		}
		served++
		streams.Add(1)
		go func() {
			defer streams.Done()
			_, _ = io.Copy(stream, stream)
			_ = stream.CloseWrite()
		}()
	}
}

// callEcho: "count" streams at once, each writes "size" bytes, closes its half, compares the answer.
func (p *puppet) callEcho(c command) fact {
	results := make(chan error, c.Count)
	for range c.Count {
		go func() { results <- p.callEchoOnce(randomBytes(c.Size)) }()
	}
	equal, last := 0, error(nil)
	for range c.Count {
		if err := <-results; err == nil {
			equal++
		} else {
			last = err
		}
	}
	return failure(fact{"equal": equal}, last)
}

func (p *puppet) callEchoOnce(question []byte) error {
	stream, err := p.session.OpenStream()
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	written := make(chan error, 1)
	go func() {
		_, err := stream.Write(question)
		if err == nil {
			err = stream.CloseWrite()
		}
		written <- err
	}()
	answer, err := io.ReadAll(stream)
	if err == nil {
		err = <-written
	}
	if err == nil && !bytes.Equal(answer, question) {
		err = errors.New("the echo differs")
	}
	return err
}

// startBeating: Heartbeat.Start, which opens Go's heartbeat stream towards the other side.
func (p *puppet) startBeating(command) fact {
	p.heart.Start()
	return fact{}
}

// beat: Heartbeat.Beat, one round trip on demand.
func (p *puppet) beat(command) fact {
	latency, answered := p.heart.Beat()
	return fact{"answered": answered, "seconds": latency.Seconds()}
}

func (p *puppet) closeSession(command) fact {
	return failure(fact{}, p.session.Close())
}

// wait: Session.Wait: why Go ended the session, and what the last GOAWAY from the other side said.
func (p *puppet) wait(command) fact {
	local, remote, debug := p.session.Wait()
	f := failure(fact{}, local)
	if remote != nil {
		code, _ := muxado.GetError(remote)
		f["goaway"], f["debug"] = code, string(debug)
	}
	return f
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails, see crypto/rand
	return data
}
