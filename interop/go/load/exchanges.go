package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// exchange is a question and its answer; the application that answers is interop/bench/tunnel/app.py.
type exchange struct {
	greeting []byte // what a connection begins with, if that is something else
	welcome  reader
	ask      []byte
	up       int // bytes that follow the question
	answer   reader
	closes   bool // the connection ends behind the answer
	body     int  // bytes that are counted
}

// reader takes an answer in the pieces in which it comes; each exchange begins with a copy of it.
type reader struct {
	exact []byte // the bytes that must come, or else nothing, and
	http  bool   // an answer of HTTP with
	line  string // this first line and
	size  int    // so many bytes of body,
	body  string // which are these, if it is not empty

	taken  int  // bytes of the body or of the exact answer
	behind bool // the head is behind us
	head   []byte
	right  *right
}

// right is the last head that was right: the next one mostly is the same, but for its date.
type right struct{ head []byte }

const (
	message   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // 64 bytes
	handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

func exchangeNamed(name string, size int) (exchange, error) {
	ok := func(size int, body string) reader {
		return reader{http: true, line: "HTTP/1.1 200 ", size: size, body: body, right: &right{}}
	}
	switch name {
	case "get":
		return exchange{ask: request("GET", "/", ""), answer: ok(5, "hello")}, nil
	case "each":
		return exchange{ask: request("GET", "/", "Connection: close\r\n"), answer: ok(5, "hello"), closes: true}, nil
	case "download":
		return exchange{ask: request("GET", fmt.Sprintf("/?%d", size), ""), answer: ok(size, ""), body: size}, nil
	case "upload":
		count := strconv.Itoa(size)
		ask := request("POST", "/", "Content-Length: "+count+"\r\n")
		return exchange{ask: ask, up: size, answer: ok(len(count), count), body: size}, nil
	case "websocket":
		frame := append([]byte{0x82, 0x80 | 64, 0, 0, 0, 0}, message...) // masked with zeros
		return exchange{
			greeting: request("GET", "/", handshake),
			welcome:  reader{http: true, line: "HTTP/1.1 101 ", right: &right{}},
			ask:      frame,
			answer:   reader{exact: append([]byte{0x82, 64}, message...)},
		}, nil
	}
	return exchange{}, fmt.Errorf("unknown exchange: %q", name)
}

func request(method, target, fields string) []byte {
	return []byte(method + " " + target + " HTTP/1.1\r\nHost: app.test\r\n" + fields + "\r\n")
}

// take says whether the answer is whole. An answer that is not the expected one is an error.
func (r *reader) take(data []byte) (bool, error) {
	if !r.http {
		return r.match(data, r.exact)
	}
	if !r.behind {
		rest, err := r.takeHead(data)
		if err != nil || !r.behind {
			return false, err
		}
		data = rest
	}
	if r.body != "" {
		return r.match(data, []byte(r.body))
	}
	r.taken += len(data)
	if r.taken > r.size {
		return false, fmt.Errorf("%d bytes more than the answer has", r.taken-r.size)
	}
	return r.taken == r.size, nil
}

func (r *reader) match(data, wanted []byte) (bool, error) {
	if len(data) > len(wanted)-r.taken || !bytes.Equal(data, wanted[r.taken:r.taken+len(data)]) {
		return false, fmt.Errorf("%q where %q should be", data[:min(len(data), 80)], wanted[r.taken:])
	}
	r.taken += len(data)
	return r.taken == len(wanted), nil
}

// takeHead returns what is behind the head, if its end is here.
func (r *reader) takeHead(data []byte) ([]byte, error) {
	if r.head != nil {
		data = append(r.head, data...)
	}
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		r.head = bytes.Clone(data)
		return nil, nil
	}
	r.behind = true
	if bytes.Equal(data[:end], r.right.head) {
		return data[end+4:], nil
	}
	head := string(data[:end+2])
	if !strings.HasPrefix(head, r.line) {
		return nil, fmt.Errorf("%q where %q should be", head[:min(len(head), 80)], r.line)
	}
	length := "content-length: " + strconv.Itoa(r.size) + "\r\n"
	if r.size > 0 && !strings.Contains(strings.ToLower(head), length) {
		return nil, fmt.Errorf("an answer without %q: %q", length, head)
	}
	r.right.head = bytes.Clone(data[:end])
	return data[end+4:], nil
}
