// SPDX-License-Identifier: MPL-2.0

package fingerprint

import (
	"context"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// watched are the directories in which the devices come and go.
var watched = []string{"/dev", "/dev/net"}

// devices are the names in them that a probe opens, and the directory itself.
var devices = map[string]bool{"kvm": true, "tun": true, "net": true}

// Changes delivers when a device that a probe opens has come, gone or changed
// its permissions. Without inotify it never delivers, and the period of Watch
// has to do. It ends with the context.
func Changes(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return out
	}
	for _, dir := range watched {
		// A directory that is missing has no devices to watch.
		_, _ = unix.InotifyAddWatch(fd, dir,
			unix.IN_CREATE|unix.IN_DELETE|unix.IN_ATTRIB|unix.IN_MOVED_TO|unix.IN_MOVED_FROM)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	go func() {
		<-ctx.Done()
		f.Close() // ends the read below
	}()
	go func() {
		// Room for a few events of the longest name (inotify(7)).
		buf := make([]byte, 8*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if !concerns(buf[:n]) {
				continue
			}
			select {
			case out <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return out
}

// concerns tells whether one of the events in buf is about a device of ours.
func concerns(buf []byte) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(buf[12:16]))
		name := buf[unix.SizeofInotifyEvent:]
		if length > len(name) {
			return false
		}
		if devices[unix.ByteSliceToString(name[:length])] {
			return true
		}
		buf = name[length:]
	}
	return false
}
