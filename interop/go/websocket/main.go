// Command websocket is hashicorp's yamux inside a websocket, by either of Go's libraries: it answers each stream with what
// came on it, and asks the same of its peer.
//
//	websocket -library coder -dial ws://127.0.0.1:7000/tunnel -token secret
//	websocket -library gorilla -listen 127.0.0.1:0
//
// It says "listening ADDRESS", and "done" when its questions were answered; it ends when its standard input does.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

var (
	library = flag.String("library", "coder", "coder or gorilla")
	dial    = flag.String("dial", "", "URL to dial")
	listen  = flag.String("listen", "", "address to listen at")
	token   = flag.String("token", "", "bearer token to show, or to ask for")
	streams = flag.Int("streams", 20, "how many questions")
	size    = flag.Int("size", 300_000, "bytes of each")
)

func main() {
	flag.Parse()
	go func() { // nobody is there any more
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if *dial != "" {
		header := http.Header{}
		if *token != "" {
			header.Set("Authorization", "Bearer "+*token)
		}
		conn, err := dialed(header)
		if err != nil {
			log.Fatal(err)
		}
		run(conn, true)
		return
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(accept)))
}

func dialed(header http.Header) (net.Conn, error) {
	if *library == "coder" {
		conn, _, err := coder.Dial(context.Background(), *dial, &coder.DialOptions{HTTPHeader: header})
		if err != nil {
			return nil, err
		}
		return coder.NetConn(context.Background(), conn, coder.MessageBinary), nil
	}
	conn, _, err := gorilla.DefaultDialer.Dial(*dial, header)
	return &gorillaConn{Conn: conn}, err
}

func accept(w http.ResponseWriter, r *http.Request) {
	if *token != "" && r.Header.Get("Authorization") != "Bearer "+*token {
		http.Error(w, "no such token", http.StatusUnauthorized)
		return
	}
	if *library == "coder" {
		conn, err := coder.Accept(w, r, nil)
		if err == nil {
			run(coder.NetConn(context.Background(), conn, coder.MessageBinary), false)
		}
		return
	}
	upgrader := gorilla.Upgrader{}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err == nil {
		run(&gorillaConn{Conn: conn}, false)
	}
}

// gorillaConn reads messages as they come, and writes one for each write.
type gorillaConn struct {
	*gorilla.Conn
	reader io.Reader
	mutex  sync.Mutex
}

func (c *gorillaConn) Read(p []byte) (int, error) {
	for {
		if c.reader == nil {
			_, reader, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.reader = reader
		}
		n, err := c.reader.Read(p)
		if err == io.EOF {
			c.reader = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

// Write makes fragments of the size of gorilla's buffer of what is long.
func (c *gorillaConn) Write(p []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	writer, err := c.NextWriter(gorilla.BinaryMessage)
	if err != nil {
		return 0, err
	}
	n, err := writer.Write(p)
	if err == nil {
		err = writer.Close()
	}
	return n, err
}

func (c *gorillaConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func run(conn net.Conn, client bool) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	begin := yamux.Server
	if client {
		begin = yamux.Client
	}
	session, err := begin(conn, config)
	if err != nil {
		log.Fatal(err)
	}
	go answer(session)
	var group sync.WaitGroup
	for i := 0; i < *streams; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := ask(session); err != nil {
				fmt.Println("failed", err)
			}
		}()
	}
	group.Wait()
	fmt.Println("done")
	<-session.CloseChan()
}

func answer(session *yamux.Session) {
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			_, _ = io.Copy(stream, stream)
		}()
	}
}

func ask(session *yamux.Session) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	question := make([]byte, *size)
	_, _ = rand.Read(question)
	go func() {
		_, _ = stream.Write(question)
		_ = stream.Close()
	}()
	answer, err := io.ReadAll(stream)
	if err == nil && !bytes.Equal(answer, question) {
		err = fmt.Errorf("%d bytes came back of %d, or others", len(answer), len(question))
	}
	return err
}
