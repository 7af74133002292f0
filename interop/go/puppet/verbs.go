package puppet

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
)

// Command is one line of input. Only the fields its verb names are read.
type Command struct {
	ID     int     `json:"id"`
	Do     string  `json:"do"`
	Stream uint32  `json:"stream"`
	Text   string  `json:"text"`
	Size   int     `json:"size"`    // bytes
	Chunk  int     `json:"chunk"`   // bytes a Write; 0: all in one
	Count  int     `json:"count"`   // streams
	AtOnce int     `json:"at_once"` // streams; 0: all
	Finish bool    `json:"finish"`
	Type   *uint32 `json:"type"`
	URL    string  `json:"url"`
}

var verbs = map[string]Verb{
	"open":          (*Puppet).open,
	"accept":        (*Puppet).accept,
	"write":         (*Puppet).write,
	"read":          (*Puppet).read,
	"close_write":   (*Puppet).closeWrite,
	"close":         (*Puppet).close,
	"serve_echo":    (*Puppet).serveEcho,
	"call_echo":     (*Puppet).callEcho,
	"http_get":      (*Puppet).httpGet,
	"http_serve":    (*Puppet).httpServe,
	"ping":          (*Puppet).ping,
	"go_away":       (*Puppet).goAway,
	"close_session": (*Puppet).closeSession,
}

var errNotThere = errors.New("the library has no such method")

// Failure adds what an error says. End of file is "EOF" without a code.
func (p *Puppet) Failure(f Fact, err error) Fact {
	if err == nil {
		return f
	}
	f["error"] = err.Error()
	if p.library.Code != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f["code"] = p.library.Code(err)
	}
	return f
}

func (p *Puppet) keep(stream Stream) Fact {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[stream.ID()] = stream
	return Fact{"stream": stream.ID()}
}

func (p *Puppet) stream(c Command) Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams[c.Stream]
}

// open: a stream to the other side, of a "type" if there is one.
func (p *Puppet) open(c Command) Fact {
	stream, err := Stream(nil), errNotThere
	if c.Type == nil {
		stream, err = p.Session.Open()
	} else if typed, ok := p.Session.(interface {
		OpenTyped(uint32) (Stream, error)
	}); ok {
		stream, err = typed.OpenTyped(*c.Type)
	}
	if err != nil {
		return p.Failure(Fact{}, err)
	}
	return p.keep(stream)
}

// accept: the next stream of the other side. It fails when the session is over.
func (p *Puppet) accept(Command) Fact {
	stream, err := p.Session.Accept()
	if err != nil {
		return p.Failure(Fact{}, err)
	}
	f := p.keep(stream)
	if typed, ok := stream.(interface{ Type() uint32 }); ok {
		f["type"] = typed.Type()
	}
	return f
}

// write: "text", or "size" random bytes, "chunk" bytes a call.
func (p *Puppet) write(c Command) Fact {
	total, text := c.Size, []byte(c.Text)
	if total == 0 {
		total = len(text)
	}
	chunk := c.Chunk
	if chunk == 0 {
		chunk = total
	}
	sum, written, err := sha256.New(), 0, error(nil)
	for written < total && err == nil {
		data := text
		if c.Size > 0 {
			data = randomBytes(min(chunk, total-written))
		}
		var n int
		n, err = p.stream(c).Write(data)
		sum.Write(data[:n])
		written += n
	}
	return p.Failure(Fact{"bytes": written, "sha256": hex.EncodeToString(sum.Sum(nil))}, err)
}

// read: "size" bytes (0: until there are no more). The text is given when it is short.
func (p *Puppet) read(c Command) Fact {
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
	f := Fact{"bytes": count, "sha256": hex.EncodeToString(sum.Sum(nil))}
	if count <= 256 {
		f["text"] = start.String()
	}
	return p.Failure(f, err)
}

// close_write: the half close.
func (p *Puppet) closeWrite(c Command) Fact {
	return p.Failure(Fact{}, finish(p.stream(c)))
}

func finish(stream Stream) error {
	if half, ok := stream.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errNotThere
}

// close: Stream.Close, which is a half close in some libraries.
func (p *Puppet) close(c Command) Fact {
	return p.Failure(Fact{}, p.stream(c).Close())
}

// ping: one round trip, where the library measures it.
func (p *Puppet) ping(Command) Fact {
	if session, ok := p.Session.(interface{ Ping() error }); ok {
		return p.Failure(Fact{}, session.Ping())
	}
	return p.Failure(Fact{}, errNotThere)
}

// go_away: take no more streams, and go on.
func (p *Puppet) goAway(Command) Fact {
	if session, ok := p.Session.(interface{ GoAway() error }); ok {
		return p.Failure(Fact{}, session.GoAway())
	}
	return p.Failure(Fact{}, errNotThere)
}

// close_session: Session.Close.
func (p *Puppet) closeSession(Command) Fact {
	return p.Failure(Fact{}, p.Session.Close())
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails, see crypto/rand
	return data
}
