// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MaxAccountsSize is the largest /etc/passwd or /etc/group in bytes that the driver reads
// from an image.
const MaxAccountsSize = 256 << 10

// Account is a user of the guest.
type Account struct {
	UID, GID uint32
	// Home is the user's home directory, or "" if passwd does not list the user.
	Home string
}

// Accounts are the contents of an image's /etc/passwd and /etc/group. Each may be empty.
type Accounts struct {
	Passwd string `json:"passwd,omitempty"`
	Group  string `json:"group,omitempty"`
}

// LookupUser resolves the USER of an image or a job: "name", "name:group", "uid" or
// "uid:gid", and "" for root. Without a group, the user gets the group of its line in
// passwd. A numeric user without a line gets group 0, as in Docker.
func (a Accounts) LookupUser(user string) (Account, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	account, err := a.account(name)
	if err != nil || !hasGroup || group == "" {
		return account, err
	}
	account.GID, err = a.group(group)
	return account, err
}

// account finds a user by name or number. A name wins over a number, as in Docker.
func (a Accounts) account(user string) (Account, error) {
	id, numeric := parseID(user)
	var byID *Account
	for line := range strings.SplitSeq(a.Passwd, "\n") {
		fields := strings.Split(line, ":")
		const fieldCount, home = 7, 5
		if len(fields) < fieldCount {
			continue
		}
		uid, okUser := parseID(fields[2])
		gid, okGroup := parseID(fields[3])
		if !okUser || !okGroup {
			continue
		}
		found := Account{UID: uid, GID: gid, Home: fields[home]}
		if fields[0] == user {
			return found, nil
		}
		if numeric && uid == id && byID == nil {
			byID = &found
		}
	}
	switch {
	case byID != nil:
		return *byID, nil
	case numeric:
		return Account{UID: id}, nil
	}
	return Account{}, fmt.Errorf("user %s is not in the image's /etc/passwd: use a numeric UID, or UID:GID", shortened(user))
}

// group finds a group by name or number.
func (a Accounts) group(name string) (uint32, error) {
	for line := range strings.SplitSeq(a.Group, "\n") {
		fields := strings.Split(line, ":")
		const fieldCount = 4
		if len(fields) < fieldCount || fields[0] != name {
			continue
		}
		if gid, ok := parseID(fields[2]); ok {
			return gid, nil
		}
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	return 0, fmt.Errorf("group %s is not in the image's /etc/group: use a numeric GID", shortened(name))
}

// parseID parses a UID or GID. 2³²-1 means "no change" to Linux.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32
}
