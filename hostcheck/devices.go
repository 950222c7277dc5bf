// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// deviceDirs are the directories of the devices that the probes open.
var deviceDirs = []string{"/dev", "/dev/net"}

// deviceNames are the entries of deviceDirs that matter to the probes.
var deviceNames = map[string]bool{"kvm": true, "tun": true, "net": true}

// WatchDevices delivers a value when a device that the probes open has come, gone or
// changed its permissions. It stops when the context ends. Where inotify is not
// available it delivers nothing, and changes are found by the period of Watch.
//
// It does not use fsnotify, which cannot leave out IN_MODIFY: each write to /dev/null
// or to a terminal would wake the plugin.
func WatchDevices(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return out
	}
	for _, dir := range deviceDirs {
		// A missing directory contains no devices.
		_, _ = unix.InotifyAddWatch(fd, dir,
			unix.IN_CREATE|unix.IN_DELETE|unix.IN_ATTRIB|unix.IN_MOVED_TO|unix.IN_MOVED_FROM)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { f.Close() }) // ends the goroutine's read
	go func() {
		// Room for a few events with names of maximum length (inotify(7)).
		buf := make([]byte, 8*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if !containsDevice(buf[:n]) {
				continue
			}
			select {
			case out <- struct{}{}:
			default: // the receiver has not taken the last value yet
			}
		}
	}()
	return out
}

// containsDevice reports whether one of the inotify events in buf names a device.
func containsDevice(buf []byte) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(buf[12:16]))
		name := buf[unix.SizeofInotifyEvent:]
		if length > len(name) {
			return false
		}
		if deviceNames[unix.ByteSliceToString(name[:length])] {
			return true
		}
		buf = name[length:]
	}
	return false
}
