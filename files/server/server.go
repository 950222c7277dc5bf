// SPDX-License-Identifier: MPL-2.0

// Package server is a passthrough file server in the FUSE protocol. Its guest is not trusted.
//
// A node is an O_PATH descriptor of a file of the host. The server finds a file by one name in
// the directory of a node, and never resolves a path or follows a symbolic link. It opens only
// regular files and directories, by their entries in /proc/self/fd. So a file outside of the
// shares cannot be reached, however the guest and the host rename files meanwhile.
package server

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/files"
)

const (
	// workers is the number of requests that are served at a time.
	workers = 4
	// defaultNodes and defaultHandles limit the files that a guest can keep open.
	defaultNodes   = 50_000
	defaultHandles = 10_000
	// reserve is the number of descriptors in addition to nodes and handles: the standard ones,
	// shares, and one per request that opens a file for a moment.
	reserve = 512
	// maxShares limits the shares of a server: the index of a share is the highest byte of
	// the guest's inode numbers.
	maxShares = 256
)

// Config describes a server.
type Config struct {
	// Plan describes the shares and the user. The process already acts as this user.
	Plan files.Plan
	// Socket is a socket of type SOCK_SEQPACKET, whose other end is the guest.
	Socket int
	// Shares are O_PATH descriptors of the shares, in the order of Plan.Shares.
	Shares []int
	// ProcSelfFD is an O_PATH descriptor of /proc/self/fd.
	ProcSelfFD int
	// Nodes and Handles limit the files that the guest can keep open. Zero means as many as
	// RLIMIT_NOFILE allows, at most 50,000 and 10,000.
	Nodes, Handles int
}

// A Server serves the shares of one guest.
type Server struct {
	config  Config
	shares  []share
	nodes   *nodes
	handles *handles
	poll    poller
	turn    turn
	workers [workers]*worker
	failure atomic.Pointer[error]
}

// A share is a Share of the plan with the identity of its root.
type share struct {
	fd     int
	root   identity
	hidden []files.Inode
	// readOnly keeps the guest from changing file systems that are mounted in the share later.
	// They have the attributes that the host has given them.
	readOnly bool
}

// New returns a server that has not yet read a request. The caller keeps the descriptors of
// config, and closes them after Serve has returned.
func New(config Config) (*Server, error) {
	if len(config.Shares) != len(config.Plan.Shares) || len(config.Shares) > maxShares {
		return nil, fmt.Errorf("%d descriptors for %d shares, which may be at most %d",
			len(config.Shares), len(config.Plan.Shares), maxShares)
	}
	if err := setLimits(&config); err != nil {
		return nil, err
	}
	s := &Server{config: config, nodes: newNodes(config.Nodes), handles: newHandles(config.Handles)}
	var attributes unix.Statx_t
	for i, fd := range config.Shares {
		if errno := statx(fd, &empty, &attributes); errno != 0 {
			return nil, fmt.Errorf("read the attributes of share %d: %w", i, errno)
		}
		if attributes.Mask&unix.STATX_MNT_ID == 0 {
			return nil, errors.New("statx reports no mount ID: the host needs Linux 5.8 or newer")
		}
		s.shares = append(s.shares, share{
			fd: fd, root: identityOf(&attributes, int32(i)), hidden: config.Plan.Shares[i].Hidden,
			readOnly: config.Plan.Shares[i].ReadOnly,
		})
	}
	s.poll.init(runtime.NumCPU())
	s.turn.init()
	for i := range s.workers {
		s.workers[i] = newWorker(s, uint64(i))
	}
	return s, nil
}

// setLimits chooses limits so that the guest's files stay below RLIMIT_NOFILE.
func setLimits(config *Config) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	available := int(min(limit.Cur, 1<<20)) - reserve
	if available < 64 {
		return fmt.Errorf("RLIMIT_NOFILE is %d, less than %d: raise LimitNOFILE of the Nomad agent", limit.Cur, reserve+64)
	}
	if config.Handles == 0 {
		config.Handles = min(defaultHandles, available/4)
	}
	if config.Nodes == 0 {
		config.Nodes = min(defaultNodes, available-config.Handles)
	}
	if config.Nodes+config.Handles > available {
		return fmt.Errorf("%d nodes and %d handles need a higher RLIMIT_NOFILE than %d", config.Nodes, config.Handles, limit.Cur)
	}
	return nil
}

func identityOf(attributes *unix.Statx_t, share int32) identity {
	return identity{
		dev: unix.Mkdev(attributes.Dev_major, attributes.Dev_minor), ino: attributes.Ino,
		mount: attributes.Mnt_id, share: share,
	}
}

// Serve answers requests until the guest has closed its end of the socket, and returns nil then.
// It sets the file mode creation mask of the process to zero, because the guest's kernel applies
// the mask of the program. Serve can be called once.
func (s *Server) Serve() error {
	unix.Umask(0)
	var running sync.WaitGroup
	for _, w := range s.workers {
		running.Add(1)
		go func() {
			defer running.Done()
			// The capabilities of a worker's thread differ from those of other threads.
			runtime.LockOSThread()
			w.run()
		}()
	}
	watch := s.turn.startWatchdog()
	running.Wait()
	watch.stop()
	s.handles.close()
	s.nodes.close()
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}
