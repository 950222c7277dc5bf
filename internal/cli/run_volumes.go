// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
	"github.com/lkl-nomad/nomad-driver-lkl/files/jail"
	"github.com/lkl-nomad/nomad-driver-lkl/files/server"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/eintr"
	"github.com/lkl-nomad/nomad-driver-lkl/tender"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/lkl"
)

// A volume is a directory or a file of the host that the guest mounts.
type volume struct {
	source   string // on the host
	target   string // in the guest
	readOnly bool
}

// addVolume adds the volume of an option --volume=SOURCE:TARGET[:ro].
func (o *runOptions) addVolume(value string) error {
	parts := strings.Split(value, ":")
	readOnly := len(parts) == 3 && parts[2] == "ro"
	if len(parts) != 2 && !readOnly || parts[0] == "" {
		return fmt.Errorf("--volume=%s: must be SOURCE:TARGET or SOURCE:TARGET:ro", value)
	}
	if err := lkl.CheckMountPath(parts[1]); err != nil {
		return fmt.Errorf("--volume=%s: %w", value, err)
	}
	o.volumes = append(o.volumes, volume{parts[0], parts[1], readOnly})
	return nil
}

// checkVolumes compares the volumes with the guest's features.
func (o *runOptions) checkVolumes(info *unikernel.Info) error {
	const needed = unikernel.FeatureConfig | unikernel.FeatureDevices | unikernel.FeatureFiles
	if _, taken := o.interfaces[unikernel.DeviceFiles]; taken && len(o.volumes) > 0 {
		return fmt.Errorf("--net:%s cannot be used with --volume", unikernel.DeviceFiles)
	}
	if missing := needed &^ info.Features; len(o.volumes) > 0 && missing != 0 {
		return fmt.Errorf("--volume: the guest lacks the features %s: link it again with the current lkl-cc",
			strings.Join(missing.Names(), ", "))
	}
	return nil
}

// mounts returns the guest's side of the volumes.
func (o *runOptions) mounts() []lkl.Mount {
	var mounts []lkl.Mount
	for i, v := range o.volumes {
		mounts = append(mounts, lkl.ShareMount(i, v.target, v.readOnly))
	}
	return mounts
}

// A volumeServer is the process that serves the volumes. It is nil without volumes.
type volumeServer struct{ process *jail.Server }

// serveVolumes starts the server of the volumes and attaches its device to the guest.
func (o *runOptions) serveVolumes(g *tender.Guest, openProgram func() (*os.File, error)) (_ *volumeServer, err error) {
	if len(o.volumes) == 0 {
		return nil, nil
	}
	if openProgram == nil {
		return nil, errors.New("--volume: this program has no file server")
	}
	program, err := openProgram()
	if err != nil {
		return nil, fmt.Errorf("open the file server: %w", err)
	}
	defer func() { _ = program.Close() }()
	shares, err := o.openVolumes()
	defer func() {
		for _, fd := range shares {
			_ = unix.Close(fd)
		}
	}()
	if err != nil {
		return nil, err
	}
	guestFD, conn, err := jail.SocketPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(conn) }()
	g.Devices = append(g.Devices, tender.Device{
		Name: unikernel.DeviceFiles, Type: unikernel.Net, File: os.NewFile(uintptr(guestFD), unikernel.DeviceFiles),
		MAC: [6]byte{2, 0, 0, 0, 0, 1}, MTU: unikernel.MaxMTU, // unused, but the ABI requires them
	})
	s, err := jail.Start(o.filesPlan(), jail.Files{Program: int(program.Fd()), Conn: conn, Shares: shares})
	if errors.Is(err, jail.ErrPrivileges) {
		err = fmt.Errorf("--volume: run this command as root: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &volumeServer{s}, nil
}

// openVolumes opens the sources of the volumes. The caller closes them, also after an error.
func (o *runOptions) openVolumes() (shares []int, err error) {
	for _, v := range o.volumes {
		fd, err := eintr.Retry(func() (int, error) { return unix.Open(v.source, unix.O_PATH|unix.O_CLOEXEC, 0) })
		if err != nil {
			return shares, fmt.Errorf("--volume: open %s: %w", v.source, err)
		}
		shares = append(shares, fd)
	}
	return shares, nil
}

// filesPlan describes the volumes to their server, which acts as root, because it does not
// know the users in the guest.
func (o *runOptions) filesPlan() files.Plan {
	plan := files.Plan{Version: files.Version}
	for _, v := range o.volumes {
		plan.Shares = append(plan.Shares, files.Share{ReadOnly: v.readOnly, Follow: true})
	}
	return plan
}

// wait waits for the end of the server, which follows the guest's. It returns an error if
// the server has failed.
func (s *volumeServer) wait() error {
	if s == nil {
		return nil
	}
	var status syscall.WaitStatus
	_, err := eintr.Retry(func() (int, error) { return syscall.Wait4(s.process.Pid, &status, 0, nil) })
	if reason := s.process.Ended(status); err == nil && status != 0 {
		err = fmt.Errorf("the file server of the volumes failed: %s", reason)
	}
	return err
}

// ServeFiles is the program of a file server that run has started (--volume). The programs
// with these commands call it first: it returns false in any other process.
func ServeFiles(args []string) (status int, isServer bool) {
	if len(args) != 1 || filepath.Base(args[0]) != files.Program {
		return 0, false
	}
	return server.Main(), true
}
