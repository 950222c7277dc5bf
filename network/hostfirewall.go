// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// firewalls returns warnings about chains of other tables that drop forwarded packets by
// default, such as those of docker and ufw. No table can override such a chain. A table
// that names the taps in a rule is left out: the operator has followed the warning. Chains that
// cannot be read are left out, too: other programs must not prevent a start.
func (t *hostTable) firewalls() (warnings []string) {
	chains, err := t.conn.ListChains()
	if err != nil {
		return nil
	}
	for _, c := range chains {
		if c.Table.Name == hostTableName || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward {
			continue
		}
		if t.dropsByDefault(c) && !t.namesTaps(chains, c.Table) {
			warnings = append(warnings, fmt.Sprintf("the chain %s of the firewall's table %s drops forwarded packets by default: %s",
				c.Name, c.Table.Name, remedy(c.Table)))
		}
	}
	return warnings
}

// dropsByDefault reports whether a chain drops or rejects the packets that no rule accepts,
// by its policy or by its last rule.
func (t *hostTable) dropsByDefault(c *nftables.Chain) bool {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true
	}
	rules, err := t.conn.GetRules(c.Table, c)
	if err != nil || len(rules) == 0 || len(rules[len(rules)-1].Exprs) == 0 {
		return false
	}
	for _, e := range rules[len(rules)-1].Exprs { // a condition comes before the verdict
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
			continue
		case *expr.Reject:
			return true
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		}
		return false
	}
	return false
}

// namesTaps reports whether a rule of a table compares the name of an interface with that
// of taps. The rules of some tables cannot be read.
func (t *hostTable) namesTaps(chains []*nftables.Chain, table *nftables.Table) bool {
	for _, c := range chains {
		if c.Table.Name != table.Name || c.Table.Family != table.Family {
			continue
		}
		rules, err := t.conn.GetRules(c.Table, c)
		if err != nil {
			return false
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if cmp, ok := e.(*expr.Cmp); ok && bytes.HasPrefix(cmp.Data, []byte("lkl")) {
					return true
				}
			}
		}
	}
	return false
}

// remedy says how to accept the packets of taps in a table of a known program.
func remedy(table *nftables.Table) string {
	switch {
	case table.Name == "firewalld":
		return "run firewall-cmd --permanent --zone=trusted --add-interface=lkl+, and firewall-cmd --reload"
	case table.Family == nftables.TableFamilyIPv4 && table.Name == "filter":
		return iptablesRemedy("iptables")
	case table.Family == nftables.TableFamilyIPv6 && table.Name == "filter":
		return iptablesRemedy("ip6tables")
	}
	return `add rules that accept iifname "lkl*" and oifname "lkl*"`
}

func iptablesRemedy(tool string) string {
	return strings.ReplaceAll("run TOOL -I FORWARD -i lkl+ -j ACCEPT, and TOOL -I FORWARD -o lkl+ -j ACCEPT", "TOOL", tool)
}
