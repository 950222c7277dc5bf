// SPDX-License-Identifier: MPL-2.0

package executor

// An executor outlives the plugin that started it. After an upgrade or a
// downgrade of the plugin, a plugin of one version has to supervise an executor
// of another. These rules make that possible:
//
//   - An executor answers every request of the versions MinVersion to Version,
//     each in the format of the request's version.
//   - A plugin reads the executor's versions from IdentityFile, and speaks the
//     newest version that both know.
//   - Readers ignore fields that they do not know. A field that the other side
//     may ignore needs no new version.
//   - A name keeps its meaning and its type. The files of a state directory keep
//     every field that a plugin of MinVersion reads.
//
// testdata has golden files of every version.
const (
	// Version is the newest version of the plan, of the protocol, and of the
	// files in a task's state directory. Version 2 added the file server: Plan.Files,
	// Device.Files, Identity.Files and State.FilesEnded. Version 3 added the guest's
	// standard error, Plan.SeparateStderr, and Exit.Message.
	Version = 3
	// MinVersion is the oldest version that is still understood.
	MinVersion = 1
)

// knows reports whether this build understands a version.
func knows(version int) bool { return MinVersion <= version && version <= Version }
