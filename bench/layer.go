// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"
)

// averageFile is the average size in bytes of a file in Python's library, with its
// compiled files and shared objects.
const averageFile = 40e3

// writeLayer writes a plain layer with a number of files. Their sizes are distributed
// exponentially, like those of a root file system. gzip reduces their text to a third.
func writeLayer(path string, files int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(writeFiles(tar.NewWriter(f), files), f.Close())
}

func writeFiles(w *tar.Writer, files int) error {
	text := randomText(4 << 20)
	for i := range files {
		quantile := (float64(i*7919%files) + 0.5) / float64(files)
		size := int(-math.Log(1-quantile) * averageFile)
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size), ModTime: time.Unix(1e9, 0),
			Name: fmt.Sprintf("usr/lib/python3.11/%d/%d/module%d.py", i/500, i/50, i),
		})
		if err != nil {
			return err
		}
		from := i * 65537 % (len(text) - size)
		if _, err := w.Write(text[from : from+size]); err != nil {
			return err
		}
	}
	return w.Close()
}

// randomText returns words of which some are frequent, as in a program.
func randomText(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 4000)
	for i := range words {
		for range 2 + random.IntN(10) {
			words[i] = append(words[i], "etaoinshrdlu_cmfwypvbgkjqxz"[int(27*math.Pow(random.Float64(), 2))])
		}
	}
	var text bytes.Buffer
	for text.Len() < size {
		text.Write(words[int(float64(len(words))*math.Pow(random.Float64(), 3))])
		text.WriteByte(" \n(),.    "[random.IntN(10)])
	}
	return text.Bytes()[:size]
}
