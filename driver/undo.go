// SPDX-License-Identifier: MPL-2.0

package driver

// An undo releases the resources of a start that failed. Each resource is
// added right after it has been taken.
type undo struct {
	releases []func() error
}

func (u *undo) add(release func() error) { u.releases = append(u.releases, release) }

// run releases the resources in reverse order. It stops at the first failure,
// because the task's directory, which was taken first, names the rest: it must
// stay until everything else has been released.
func (u *undo) run() error {
	for len(u.releases) > 0 {
		last := len(u.releases) - 1
		if err := u.releases[last](); err != nil {
			return err
		}
		u.releases = u.releases[:last]
	}
	return nil
}
