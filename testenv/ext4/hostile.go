// SPDX-License-Identifier: MPL-2.0

package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

const blockSize = 4096

// Make makes an image of 32 MiB with the options of mke2fs(8).
func Make(image string, options ...string) error {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		return err
	}
	out, err := exec.Command("mke2fs", append(append([]string{"-q", "-F"}, options...), image)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return nil
}

// MakeCyclicDirectory makes an image in which the directory /etc has blocks at three levels
// of indirection. All entries of a level are the same block of the next level, so a walk
// through the directory reads a billion blocks.
func MakeCyclicDirectory(image string) error {
	const single, double, triple = 4000, 4001, 4002 // free blocks
	if err := Make(image, "-b", "4096", "-O", "none,filetype,large_file,sparse_super,dir_index", "-N", "64"); err != nil {
		return err
	}
	if err := script(image, "mkdir /etc"); err != nil {
		return err
	}
	out, err := Debugfs(image, "blocks /etc")
	if err != nil {
		return err
	}
	fields := strings.Fields(out)
	block, err := strconv.ParseUint(fields[len(fields)-1], 10, 32)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at, entry := range map[int64]uint32{single: uint32(block), double: single, triple: double} {
		content := bytes.Repeat(binary.LittleEndian.AppendUint32(nil, entry), blockSize/4)
		if _, err := f.WriteAt(content, at*blockSize); err != nil {
			return err
		}
	}
	return script(image,
		fmt.Sprintf("setb %d 3", single),
		fmt.Sprintf("sif /etc block[IND] %d", single),
		fmt.Sprintf("sif /etc block[DIND] %d", double),
		fmt.Sprintf("sif /etc block[TIND] %d", triple),
		fmt.Sprintf("sif /etc size %d", 1<<31-blockSize),
		"sif /etc blocks 24")
}

// MakeJournalInBackup makes an image whose primary superblock has a wrong checksum. A
// backup superblock with a right one names a device as the journal.
func MakeJournalInBackup(image string, device uint32) error {
	const (
		backup   = 1024 * blockSize // the first block of group 1
		incompat = 0x60
		recovery = 0x4
		uuid     = 0xd0
		inode    = 0xe0
		number   = 0xe4
		checksum = 0x3fc
	)
	if err := Make(image, "-t", "ext4", "-b", "4096", "-g", "1024"); err != nil {
		return err
	}
	content, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	primary, copied := content[1024:2048], content[backup:backup+1024]
	primary[incompat] |= recovery
	primary[checksum] ^= 0xff
	copied[incompat] |= recovery
	copied[uuid] = 1
	binary.LittleEndian.PutUint32(copied[inode:], 0)
	binary.LittleEndian.PutUint32(copied[number:], device)
	sum := ^crc32.Checksum(copied[:checksum], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(copied[checksum:], sum)
	return os.WriteFile(image, content, 0o600)
}

// script runs commands of debugfs that change an image.
func script(image string, commands ...string) error {
	cmd := exec.Command("debugfs", "-w", "-f", "-", image)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("debugfs %s: %w: %s", image, err, out)
	}
	return nil
}
