// SPDX-License-Identifier: MPL-2.0

package spec

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxAccountsSize is the largest /etc/passwd or /etc/group in bytes that the driver reads
// from an image.
const MaxAccountsSize = 256 << 10

// Account is a user of the guest.
type Account struct {
	UID, GID uint32
	// Home is the user's home directory. It is "/" if passwd does not list the user, as in
	// Docker.
	Home string
}

// Accounts are the contents of an image's /etc/passwd and /etc/group. Each may be empty.
type Accounts struct {
	Passwd string `json:"passwd,omitempty"`
	Group  string `json:"group,omitempty"`
}

// LookupUser resolves the USER of an image or a job: "name", "name:group", "uid" or
// "uid:gid", and "" for root. Without a group, the user gets the group of its line in
// passwd. A numeric user without a line gets group 0, as in Docker. A number is never a
// name.
func (a Accounts) LookupUser(user string) (Account, error) {
	name, group, _ := strings.Cut(user, ":")
	account, err := a.account(cmp.Or(name, "0"))
	if err != nil || group == "" {
		return account, err
	}
	account.GID, err = a.group(group)
	return account, err
}

func (a Accounts) account(user string) (Account, error) {
	const gidField, homeField = 3, 5
	uid, numeric, fields := findAccount(a.Passwd, user, gidField)
	if fields == nil {
		if !numeric {
			return Account{}, fmt.Errorf("user %s is not in the image's /etc/passwd: use a numeric UID, or UID:GID", shortened(user))
		}
		return Account{UID: uid, Home: "/"}, nil
	}
	account := Account{UID: uid}
	account.GID, _ = parseID(fields[gidField]) // findAccount has checked it
	if len(fields) > homeField {
		account.Home = fields[homeField]
	}
	return account, nil
}

func (a Accounts) group(group string) (uint32, error) {
	gid, numeric, fields := findAccount(a.Group, group)
	if fields == nil && !numeric {
		return 0, fmt.Errorf("group %s is not in the image's /etc/group: use a numeric GID", shortened(group))
	}
	return gid, nil
}

// findAccount returns the ID of a user or a group, and the fields of the first line with its
// name or number. It returns no fields if there is no such line. Lines without valid IDs do
// not count: the ID is the third field, and idFields are others.
func findAccount(file, wanted string, idFields ...int) (id uint32, numeric bool, fields []string) {
	const idField = 2
	id, numeric = parseID(wanted)
	for line := range strings.SplitSeq(file, "\n") {
		fields := strings.Split(strings.TrimSpace(line), ":")
		invalid := slices.ContainsFunc(append(idFields, idField), func(i int) bool {
			if i >= len(fields) {
				return true
			}
			_, ok := parseID(fields[i])
			return !ok
		})
		if invalid {
			continue
		}
		found, _ := parseID(fields[idField])
		if numeric && found == id || !numeric && fields[0] == wanted {
			return found, numeric, fields
		}
	}
	return id, numeric, nil
}

// parseID parses a UID or GID. 2³²-1 means "no change" to Linux.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32
}
