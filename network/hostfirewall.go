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
// that names the taps in a rule is left out: the operator has followed the warning.
func (t *hostTable) firewalls() (warnings []string, err error) {
	chains, err := t.conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name == hostTableName || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward {
			continue
		}
		drops, err := t.dropsByDefault(c)
		if err != nil {
			return nil, err
		}
		if drops && !t.namesTaps(chains, c.Table) {
			warnings = append(warnings, fmt.Sprintf("the chain %s of the firewall's table %s drops forwarded packets by default: %s",
				c.Name, c.Table.Name, remedy(c.Table)))
		}
	}
	return warnings, nil
}

// dropsByDefault reports whether a chain drops or rejects the packets that no rule accepts,
// by its policy or by its last rule.
func (t *hostTable) dropsByDefault(c *nftables.Chain) (bool, error) {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	rules, err := t.conn.GetRules(c.Table, c)
	if err != nil {
		return false, fmt.Errorf("list the rules of the chain %s: %w", c.Name, err)
	}
	if len(rules) == 0 || len(rules[len(rules)-1].Exprs) == 0 {
		return false, nil
	}
	for _, e := range rules[len(rules)-1].Exprs { // a condition comes before the verdict
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
			continue
		case *expr.Reject:
			return true, nil
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop, nil
		}
		return false, nil
	}
	return false, nil
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
