// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// extractISO returns a directory with the files of an image, as xorriso finds them.
func extractISO(t *testing.T, image string) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Tool("xorriso"))
	dir := filepath.Join(t.TempDir(), "out")
	out, err := exec.Command("xorriso", "-osirrox", "on:auto_chmod_off", "-indev", image, "-extract", "/", dir).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return dir
}

// listing describes the files of a directory, apart from device nodes and from the times of
// symbolic links, which xorriso does not restore.
func listing(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("find", ".", "-mindepth", "1", "-type", "c", "-o", "-type", "l", "-printf", `%P %M %U:%G %l\n`,
		"-o", "-printf", `%P %M %U:%G %Ts %y\n`)
	cmd.Dir = dir
	out, err := cmd.Output()
	must.NoError(t, err)
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// isoSource makes a directory with the cases that are hard for ISO 9660.
func isoSource(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	script := `
mkdir -p bin etc deep/1/2/3/4/5/6/7/8/9/10 many
cp /bin/true bin/ && chmod 4755 bin/true
printf large > etc/large && head -c 300000 /dev/urandom >> etc/large
printf x > "$(printf 'n%.0s' $(seq 255))"
printf x > 'a b "quoted" ümlaut'
ln bin/true bin/link
ln -s ../bin/true etc/relative
ln -s /absolute/./target/../x etc/absolute
ln -s "$(printf 'a/%.0s' $(seq 400))end" etc/long
mknod etc/device c 1 3 && mkfifo etc/fifo
: > etc/empty
truncate -s 10M etc/sparse
for i in $(seq 300); do echo $i > many/file-$i; done
chown -R 1000:100 many
chmod 700 many
find . -exec touch -h -d '2020-02-03 04:05:06 UTC' {} +
`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return dir
}

func TestBuildISO_PreservesFiles(t *testing.T) {
	t.Parallel()
	ctx, src := toolContext(t), isoSource(t)
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, BuildISO(ctx, src, image, BuildOptions{}, nil))
	out := extractISO(t, image)
	must.Eq(t, listing(t, src), listing(t, out))
	diff, err := exec.Command("diff", "-r", "--no-dereference", "-x", "device", "-x", "fifo", src, out).CombinedOutput()
	must.NoError(t, err, must.Sprint(string(diff)))
}

func TestBuildISO_IsReproducible(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	archive := tarFile(t, tarRegular("etc/hosts", "old"), tarSymlink("link", "etc/hosts"), tarHardLink("again", "etc/hosts"))
	var images [][]byte
	for range 2 {
		image := filepath.Join(t.TempDir(), "image")
		must.NoError(t, BuildISO(ctx, archive, image, BuildOptions{}, []File{textFile("/etc/hosts", "new"), textFile("/new/dir/file", "x")}))
		content, err := os.ReadFile(image)
		must.NoError(t, err)
		images = append(images, content)
	}
	must.True(t, bytes.Equal(images[0], images[1]))
}

func TestBuildISO_AddsFiles(t *testing.T) {
	t.Parallel()
	ctx := toolContext(t)
	archive := tarFile(t, tarRegular("etc/hosts", "old"), tarHardLink("again", "etc/hosts"), tarRegular("kept", "kept"))
	image := filepath.Join(t.TempDir(), "image")
	must.NoError(t, BuildISO(ctx, archive, image, BuildOptions{}, []File{textFile("/etc/hosts", "new"), textFile("/new/dir/file", "x")}))
	out := extractISO(t, image)
	for path, want := range map[string]string{"etc/hosts": "new", "again": "old", "kept": "kept", "new/dir/file": "x"} {
		content, err := os.ReadFile(filepath.Join(out, path))
		must.NoError(t, err)
		must.Eq(t, want, string(content))
	}
	must.Error(t, BuildISO(ctx, archive, filepath.Join(t.TempDir(), "image"), BuildOptions{}, []File{textFile("/kept/file", "x")}))
}

func TestBuildISO_ObservesTheLimit(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "image")
	err := BuildISO(toolContext(t), tarFile(t, tarRegular("large", strings.Repeat("x", 3<<20))), dst, BuildOptions{Max: 3 << 20}, nil)
	must.ErrorIs(t, err, ErrTooLarge)
	must.FileNotExists(t, dst)
}
