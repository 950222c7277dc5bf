// SPDX-License-Identifier: MPL-2.0

//go:build !race

package client_test

const raceEnabled = false
