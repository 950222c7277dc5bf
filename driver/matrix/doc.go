// SPDX-License-Identifier: MPL-2.0

// Package matrix tests every network mode of the driver with real guests, for IPv4, IPv6
// and both. It contains only tests.
//
// Each test makes the network below from namespaces, so that the machine's own network
// stays as it is. The driver starts the guest, a program on Linux that answers on port 7
// and takes commands on port 7000 (testdata/agent.c).
//
//	guest ── alloc ────────── near ────────── middle ────────── far
//	              MTU 1500          MTU 1300          MTU 1500
//
// In host mode, a process with its own network namespace stands for the host.
package matrix
