// Command load is the callers of a tunnel: so many connections at a time, for so long, and one line of JSON at the end.
//
// It does one kind of exchange over and over, see exchanges.go, and says how many were right, in how many seconds, and
// the first thing that went wrong. The rule: an exchange counts when its answer has come whole and is the expected one,
// and none is cut off at the end of the time, so the seconds are those to the last answer.
//
// The trap: it runs on the machine that it measures. So it is one thread over epoll that allocates nothing while it
// runs, and costs an exchange about as much as wrk does; goroutines would take half as much again, from everybody alike.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"syscall"
	"time"
)

// patience is for answers when the time is over.
const patience = 20 * time.Second

type report struct {
	Done       int     `json:"done"`  // exchanges
	Bytes      int64   `json:"bytes"` // of their bodies
	Seconds    float64 `json:"seconds"`
	CPU        float64 `json:"cpu"` // seconds of this process
	Median     float64 `json:"p50"` // seconds of an exchange, with its connection if that is part of it
	Tail       float64 `json:"p99"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error"`
}

func main() {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	address := flag.String("address", "", "HOST:PORT of the tunnel's caller side, an address of IPv4")
	name := flag.String("exchange", "", "get, each, download, upload or websocket")
	connections := flag.Int("connections", 1, "at a time")
	seconds := flag.Float64("seconds", 1, "in which exchanges are begun")
	size := flag.Int("size", 10<<20, "bytes of a body that goes down or up")
	flag.Parse()
	kind, err := exchangeNamed(*name, *size)
	exitOn(err)
	target, err := parse(*address)
	exitOn(err)
	callers, err := newCallers(target, kind)
	exitOn(err)
	begin := time.Now()
	callers.run(*connections, begin.Add(time.Duration(*seconds*float64(time.Second))))
	exitOn(json.NewEncoder(os.Stdout).Encode(callers.report(begin)))
}

func (c *callers) report(begin time.Time) report {
	found := report{Done: len(c.took), Bytes: int64(len(c.took)) * int64(c.kind.body), Errors: c.errors}
	found.Seconds = c.last.Sub(begin).Seconds()
	if c.first != nil {
		found.FirstError = c.first.Error()
	}
	if len(c.took) > 0 {
		sort.Slice(c.took, func(i, j int) bool { return c.took[i] < c.took[j] })
		found.Median = time.Duration(c.took[len(c.took)/2]).Seconds()
		found.Tail = time.Duration(c.took[(len(c.took)-1)*99/100]).Seconds()
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		found.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	return found
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
