// SPDX-License-Identifier: MPL-2.0

// Package version holds the version of the programs of this repository.
package version

// Version is the version of the plugin and of lkl.
const Version = "0.1.0"
