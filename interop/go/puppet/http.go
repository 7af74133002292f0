package puppet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
)

// http_get: net/http's client, each connection of which is a stream of the session.
func (p *Puppet) httpGet(c Command) Fact {
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return p.Session.Open() },
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(c.URL)
	if err != nil {
		return p.Failure(Fact{}, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	f := Fact{"status": answer.StatusCode, "bytes": len(body)}
	if len(body) <= 256 {
		f["text"] = string(body)
	}
	return p.Failure(f, err)
}

// http_serve: net/http's server, with the session as its net.Listener, until the session ends. It
// answers with what was asked.
func (p *Puppet) httpServe(Command) Fact {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
	}
	return p.Failure(Fact{}, http.Serve(listener{p.Session}, http.HandlerFunc(handler)))
}

type listener struct{ Session }

func (l listener) Accept() (net.Conn, error) { return l.Session.Accept() }

func (l listener) Addr() net.Addr { return &net.TCPAddr{} }
