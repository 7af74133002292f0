package puppet

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// serve_echo: accept streams and send back what they carry, until the session ends.
func (p *Puppet) serveEcho(Command) Fact {
	var streams sync.WaitGroup
	served := 0
	for {
		stream, err := p.Session.Accept()
		if err != nil {
			streams.Wait()
			return p.Failure(Fact{"served": served}, err)
		}
		served++
		streams.Add(1)
		go func() {
			defer streams.Done()
			_, _ = io.Copy(stream, stream)
			_ = stream.Close()
		}()
	}
}

// call_echo: "count" streams, "at_once" at a time: each writes "size" bytes and compares the answer.
// With "finish" it half closes first and reads to the end; without, it reads as much as it wrote.
func (p *Puppet) callEcho(c Command) Fact {
	workers := c.AtOnce
	if workers == 0 {
		workers = c.Count
	}
	calls, results := make(chan struct{}), make(chan error, workers)
	for range workers {
		go func() {
			for range calls {
				results <- p.callEchoOnce(randomBytes(c.Size), c.Finish)
			}
		}()
	}
	go func() {
		defer close(calls)
		for range c.Count {
			calls <- struct{}{}
		}
	}()
	equal, last := 0, error(nil)
	for range c.Count {
		if err := <-results; err == nil {
			equal++
		} else {
			last = err
		}
	}
	return p.Failure(Fact{"equal": equal}, last)
}

func (p *Puppet) callEchoOnce(question []byte, half bool) error {
	stream, err := p.Session.Open()
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	written := make(chan error, 1)
	go func() {
		_, err := stream.Write(question)
		if err == nil && half {
			err = finish(stream)
		}
		written <- err
	}()
	var answer []byte
	if half {
		answer, err = io.ReadAll(stream)
	} else {
		answer = make([]byte, len(question))
		_, err = io.ReadFull(stream, answer)
	}
	if err == nil {
		err = <-written
	}
	if err == nil && !bytes.Equal(answer, question) {
		err = errors.New("the echo differs")
	}
	return err
}
