// SPDX-License-Identifier: MPL-2.0

package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"
)

// hostTableName is the name of the table that holds the rules and the state of host mode.
const hostTableName = "nomad_lkl"

// hostTable is the table of nftables for host mode. Its rules are the same for any number
// of guests. They refer to sets, which contain the taps, addresses and ports of guests.
type hostTable struct {
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
	known *hostState // content that has been read; nil after a change
}

// The sets. Those of an address family have the family's digit behind the name.
const (
	setTaps     = "taps"       // names of taps
	setLinks    = "links"      // tap and guest's address
	setGuests   = "guests"     // guest's address
	setPorts    = "ports"      // host's address, protocol and port to guest's address and port
	setAnyPorts = "any_ports"  // protocol and port to guest's address and port
	setSwitched = "forwarding" // interfaces for which host mode has switched forwarding on
)

func openHostTable() (*hostTable, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := &hostTable{
		conn: conn, table: &nftables.Table{Name: hostTableName, Family: nftables.TableFamilyINet},
		sets: map[string]*nftables.Set{},
	}
	t.defineSet(setTaps, nftables.TypeIFName)
	for f, address := range map[*family]nftables.SetDatatype{ip4: nftables.TypeIPAddr, ip6: nftables.TypeIP6Addr} {
		t.defineSet(setLinks+f.digit, nftables.TypeIFName, address)
		t.defineSet(setGuests+f.digit, address)
		t.defineSet(setPorts+f.digit, address, nftables.TypeInetProto, nftables.TypeInetService).IsMap = true
		t.defineSet(setAnyPorts+f.digit, nftables.TypeInetProto, nftables.TypeInetService).IsMap = true
		t.defineSet(setSwitched+f.digit, nftables.TypeIFName)
		for _, name := range []string{setPorts, setAnyPorts} {
			t.sets[name+f.digit].DataType = nftables.MustConcatSetType(address, nftables.TypeInetService)
		}
	}
	return t, nil
}

func (t *hostTable) defineSet(name string, key ...nftables.SetDatatype) *nftables.Set {
	set := &nftables.Set{Table: t.table, Name: name, KeyType: key[0]}
	if key[0] == nftables.TypeIFName {
		set.KeyByteOrder = binaryutil.NativeEndian // otherwise nft prints empty names
	}
	if len(key) > 1 {
		set.Concatenation = true
		set.KeyType = nftables.MustConcatSetType(key...)
	}
	t.sets[name] = set
	return set
}

func (t *hostTable) set(name string, f *family) *nftables.Set { return t.sets[name+f.digit] }

func (t *hostTable) close() { _ = t.conn.CloseLasting() }

// hostState is the content of the table.
type hostState struct {
	taps     []string
	owners   map[string]string // taps by a guest's address in bytes
	elements map[string][]nftables.SetElement
	switches []forwardSwitch
}

// has reports whether a tap belongs to host mode. A missing table has none.
func (s *hostState) has(tap string) bool { return s != nil && slices.Contains(s.taps, tap) }

// read returns the content of the table, or nil if there is no table. It reads an existing
// table once between changes: the lock of the namespace excludes other changes.
func (t *hostTable) read() (*hostState, error) {
	if t.known != nil {
		return t.known, nil
	}
	if _, err := t.conn.ListTableOfFamily(hostTableName, nftables.TableFamilyINet); errors.Is(err, unix.ENOENT) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the table %s: %w", hostTableName, classifyTableError(err))
	}
	s := &hostState{owners: map[string]string{}, elements: map[string][]nftables.SetElement{}}
	for name, set := range t.sets {
		elements, err := t.conn.GetSetElements(set)
		if err != nil {
			return nil, fmt.Errorf("read the set %s of the table %s: %w", name, hostTableName, err)
		}
		s.elements[name] = elements
	}
	for _, e := range s.elements[setTaps] {
		s.taps = append(s.taps, linkName(e.Key))
	}
	for _, f := range []*family{ip4, ip6} {
		for _, e := range s.elements[setLinks+f.digit] {
			s.owners[string(e.Key[unix.IFNAMSIZ:])] = linkName(e.Key)
		}
		for _, e := range s.elements[setSwitched+f.digit] {
			s.switches = append(s.switches, forwardSwitch{family: f, link: linkName(e.Key), global: e.Comment})
		}
	}
	t.known = s
	return s, nil
}

// owner returns the tap to which an element of a set belongs.
func (s *hostState) owner(name string, f *family, e nftables.SetElement) string {
	switch name {
	case setLinks:
		return linkName(e.Key)
	case setGuests:
		return s.owners[string(e.Key)]
	}
	return s.owners[string(e.Val[:f.size])] // a port
}

// add adds a guest in one step, with the table if it does not exist.
func (t *hostTable) add(link *hostLink, ports []portRule, switches []forwardSwitch) error {
	if err := t.define(); err != nil {
		return err
	}
	err := t.conn.SetAddElements(t.sets[setTaps], []nftables.SetElement{{Key: linkKey(link.tap)}})
	for _, end := range link.ends {
		address := end.guest.Addr().AsSlice()
		err = errors.Join(err,
			t.conn.SetAddElements(t.set(setLinks, end.family), []nftables.SetElement{{Key: append(linkKey(link.tap), address...)}}),
			t.conn.SetAddElements(t.set(setGuests, end.family), []nftables.SetElement{{Key: address}}))
	}
	for _, p := range ports {
		name, element := p.element()
		err = errors.Join(err, t.conn.SetAddElements(t.sets[name], []nftables.SetElement{element}))
	}
	for _, s := range switches {
		element := nftables.SetElement{Key: linkKey(s.link), Comment: s.global}
		err = errors.Join(err, t.conn.SetAddElements(t.set(setSwitched, s.family), []nftables.SetElement{element}))
	}
	if err != nil {
		return err
	}
	return t.flush("add the guest's rules")
}

// remove removes taps in one step. It also removes interfaces for which another program
// has switched forwarding on for good.
func (t *hostTable) remove(state *hostState, taps []string) error {
	var err error
	changed := false
	discard := func(set *nftables.Set, e nftables.SetElement) {
		changed = true
		err = errors.Join(err, t.conn.SetDeleteElements(set, []nftables.SetElement{{Key: e.Key}}))
	}
	for _, f := range []*family{ip4, ip6} {
		for _, name := range []string{setPorts, setAnyPorts, setGuests, setLinks} {
			for _, e := range state.elements[name+f.digit] {
				if slices.Contains(taps, state.owner(name, f, e)) {
					discard(t.set(name, f), e)
				}
			}
		}
	}
	for _, tap := range taps {
		discard(t.sets[setTaps], nftables.SetElement{Key: linkKey(tap)})
	}
	for _, s := range state.switches {
		if s.adopted() {
			discard(t.set(setSwitched, s.family), nftables.SetElement{Key: linkKey(s.link)})
		}
	}
	if err != nil || !changed {
		return err
	}
	return t.flush("remove the rules of ended guests")
}

// delete removes the table with all rules and sets.
func (t *hostTable) delete() error {
	t.conn.DelTable(t.table)
	return t.flush("remove the rules")
}

func (t *hostTable) flush(action string) error {
	t.known = nil
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("%s in the table %s: %w", action, hostTableName, classifyTableError(err))
	}
	return nil
}

// classifyTableError adds ErrNoTables if the kernel lacks a part of nftables.
func classifyTableError(err error) error {
	for _, missing := range []error{unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%w: %w", ErrNoTables, err)
		}
	}
	return err
}

// linkKey returns the name of an interface as a key of a set.
func linkKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

func linkName(key []byte) string {
	name, _, _ := bytes.Cut(key[:unix.IFNAMSIZ], []byte{0})
	return string(name)
}

// addressFrom reads an address of a family from the beginning of a key.
func (f *family) addressFrom(key []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(key[:f.size])
	return a
}
