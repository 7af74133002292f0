package main

import (
	"bytes"
	"math/rand/v2"
)

// What is sent: random blocks in turn, beginning at another one in each stream, so that bytes that
// were lost, doubled, moved or swapped between streams are found out by comparing.
const (
	blockSize = 64 * 1024
	blocks    = 5 // no divisor of a window
)

var cycle = makeCycle()

func makeCycle() []byte {
	data := make([]byte, blocks*blockSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // never fails
	return append(data, data[:blockSize]...)
}

func block(index int) []byte { return cycle[index*blockSize : (index+1)*blockSize] }

// piece is another small message for each turn.
func piece(turn, size int) []byte {
	at := turn * size % (blocks * blockSize)
	return cycle[at : at+size]
}

// checker counts the bytes that are right, up to the first that is wrong.
type checker struct {
	position int // in the cycle
	right    uint64
	wrong    bool
}

// feed takes at most a block.
func (c *checker) feed(data []byte) {
	if c.wrong || !bytes.Equal(data, cycle[c.position:c.position+len(data)]) {
		c.wrong = true
		return
	}
	c.right += uint64(len(data))
	c.position = (c.position + len(data)) % (blocks * blockSize)
}
