// SPDX-License-Identifier: MPL-2.0

package memfd_test

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/internal/memfd"
)

func TestNew_HoldsItsContent(t *testing.T) {
	for name, create := range map[string]func(string, []byte) (*os.File, error){
		"New": memfd.New, "NewExecutable": memfd.NewExecutable,
	} {
		t.Run(name, func(t *testing.T) {
			f, err := create("secret", []byte("content"))
			must.NoError(t, err)
			defer f.Close()
			b := make([]byte, 16)
			n, _ := f.ReadAt(b, 0)
			must.Eq(t, "content", string(b[:n]))

			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			must.NoError(t, err)
			must.Eq(t, unix.FD_CLOEXEC, flags)
		})
	}
}

func TestNewExecutable_CanBeMappedAsCode(t *testing.T) {
	f, err := memfd.NewExecutable("code", make([]byte, os.Getpagesize()))
	must.NoError(t, err)
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	must.NoError(t, err)
	must.NoError(t, unix.Munmap(m))
}
