// SPDX-License-Identifier: MPL-2.0

// Package testenv is what the tests of several packages share.
//
// # Requirements
//
// A test declares in one line what the machine must provide:
//
//	testenv.Need(t, testenv.Root, testenv.KVM)
//
// If something is missing, the test is skipped with the reason. With
// LKL_TEST_STRICT=1, as in CI, only a missing device skips a test. Anything else
// that is missing fails it. [Guest] and [Plugin] return the files that make
// builds, and have the same effect if the file does not exist.
//
// # Waiting
//
// A test never sleeps. It waits for a condition with [Eventually] or
// [EventuallyTrue], and for a value from a channel with [Receive]:
//
//	must.Wait(t, testenv.Eventually(func() error { return ready() }))
//
// All of them give up after [Patience]. A failed assertion inside the condition
// ends the test at once, for an event that makes waiting pointless.
//
// # Surroundings
//
// [Temporary] gives the tests of a package a temporary directory and removes it.
// [OwnNetwork] runs a test in a network namespace. [TaskCgroup] makes the control
// groups of a task as a Nomad client does.
//
// # Packages below
//
//   - testenv/sandbox runs a program in namespaces for network, mounts and
//     processes, so that real Nomad agents do not change the machine.
//   - testenv/cluster starts real Nomad and Consul agents with the plugin.
//   - testenv/registry starts Debian's docker-registry, and counts its requests.
//   - testenv/daemon starts, stops and kills the agents and registries.
//   - testenv/leftover lists what tasks can leave behind, and compares two lists.
//   - testenv/measure collects and prints the figures of benchmarks.
//   - testenv/ext4 reads disk images.
package testenv
