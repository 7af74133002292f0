// Command path is a path of a network between two TUN devices: a rate, a delay and a queue that is full at some
// point, the same in each direction.
//
// It makes the two devices in the network namespace in which it starts, says "ready", and carries packets until its
// standard input ends. Whoever started it moves one device into another namespace, and gives them addresses: a device
// keeps working wherever it is moved. Devices vanish with the program.
//
// The rule: TCP stays the kernel's at both ends. What waits in its buffers, and how its congestion control answers
// losses, is what is measured across such a path.
//
// The trap: a packet that comes while the queue holds more than its limit is lost, as at a router; one that is
// delayed is not in the queue any more.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	setInterface = 0x400454ca // TUNSETIFF of linux/if_tun.h
	tunNoHeader  = 0x1001     // IFF_TUN | IFF_NO_PI
	schedFifo    = 1          // SCHED_FIFO of linux/sched.h
	largest      = 65536      // bytes of a packet
	chunk        = 1 << 20    // bytes that packets are read into
	onTheWay     = 100_000    // packets

	nap = 200 * time.Microsecond // at least: to wake up for each packet would take a processor of its own
)

// packet is on its way until it is due.
type packet struct {
	due  time.Time
	data []byte
}

func main() {
	near := flag.String("near", "near", "the name of one device")
	far := flag.String("far", "far", "the name of the other")
	rate := flag.Float64("rate", 50e6, "bits per second")
	delay := flag.Duration("delay", 20*time.Millisecond, "in each direction, besides waiting in the queue")
	queue := flag.Int("queue", 250_000, "bytes that may wait")
	flag.Parse()
	a, err := open(*near)
	exitOn(err)
	b, err := open(*far)
	exitOn(err)
	go carry(a, b, *rate, *delay, *queue)
	go carry(b, a, *rate, *delay, *queue)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "path:", err)
		os.Exit(1)
	}
}

// open makes a TUN device.
func open(name string) (int, error) {
	device, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("/dev/net/tun: %w", err)
	}
	var request [40]byte // struct ifreq: a name of 16 bytes, then flags
	copy(request[:15], name)
	*(*uint16)(unsafe.Pointer(&request[16])) = tunNoHeader
	_, _, failure := syscall.Syscall(syscall.SYS_IOCTL, uintptr(device), setInterface, uintptr(unsafe.Pointer(&request[0])))
	if failure != 0 {
		return 0, fmt.Errorf("TUNSETIFF: %w", failure)
	}
	return device, nil
}

// beOnTime makes the calling goroutine a thread that goes before all others: a network does not wait until the
// processes whose packets it carries have had their turn.
func beOnTime() {
	runtime.LockOSThread()
	parameter := int32(1) // struct sched_param: the least of real-time priorities
	_, _, failure := syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, 0, schedFifo, uintptr(unsafe.Pointer(&parameter)))
	if failure != 0 {
		exitOn(fmt.Errorf("sched_setscheduler: %w", failure))
	}
}

// carry takes packets from one device to the other.
func carry(from, to int, rate float64, delay time.Duration, queue int) {
	beOnTime()
	way := make(chan packet, onTheWay)
	go deliver(way, to)
	idle := time.Now() // when the queue will be empty
	room := make([]byte, chunk)
	for {
		if len(room) < largest {
			room = make([]byte, chunk)
		}
		n, err := syscall.Read(from, room)
		if err != nil {
			if err != syscall.EINTR {
				// A device that is down, or not up yet, gives nothing.
				time.Sleep(time.Millisecond)
			}
			continue
		}
		now := time.Now()
		if idle.Before(now) {
			idle = now
		}
		if idle.Sub(now).Seconds()*rate/8 > float64(queue) {
			continue
		}
		idle = idle.Add(time.Duration(float64(n) * 8 / rate * 1e9))
		way <- packet{idle.Add(delay), room[:n:n]}
		room = room[n:]
	}
}

// deliver writes each packet when it is due, or a nap later. A timer of Go's runtime may be a millisecond late; this
// sleep is not, but the runtime's signals cut it short.
func deliver(way <-chan packet, to int) {
	beOnTime()
	for one := range way {
		for wait := time.Until(one.due); wait > 0; wait = time.Until(one.due) {
			pause := syscall.NsecToTimespec(int64(max(wait, nap)))
			syscall.Nanosleep(&pause, nil)
		}
		syscall.Write(to, one.data) // a device that is gone loses it
	}
}
