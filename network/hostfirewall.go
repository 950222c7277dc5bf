// SPDX-License-Identifier: MPL-2.0

package network

import (
	"fmt"

	"github.com/google/nftables"
)

// firewalls returns warnings about chains of other tables that drop forwarded packets by
// default. No table can override such a chain.
func (t *hostTable) firewalls() (warnings []string, err error) {
	chains, err := t.conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("the chain %s of the firewall's table %s drops forwarded packets by default: "+
			"accept those from and to the interfaces lkl+", c.Name, c.Table.Name))
	}
	return warnings, nil
}
