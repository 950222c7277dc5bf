package client

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
)

var _ = unikernel.Net

func TestTry(t *testing.T) {
	dir := t.TempDir()
	k, err := os.Open("/work/main/build/guest/" + os.Getenv("G") + ".spt")
	if err != nil {
		t.Fatal(err)
	}
	exec.Command("mkfifo", dir+"/out").Run()
	out, _ := os.OpenFile(dir+"/out", os.O_RDWR, 0)
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			fmt.Printf("%s", b[:n])
		}
	}()
	p := executor.Plan{Task: "x", Dir: dir, Tender: "spt", Memory: 16 << 20, CommandLine: os.Getenv("C"), Stdout: dir + "/out", Stderr: "/dev/stderr", UIDBase: 1 << 20, Root: "/tmp/ex/empty"}
	if os.Getenv("G") == "control" {
		p.Devices = []executor.Device{{Name: "control", Type: unikernel.Net, Control: true}}
	}
	for i := 0; i < 5; i++ {
		t0 := time.Now()
		c, st, err := Start(context.Background(), os.Getenv("BIN"), p, []*os.File{k})
		fmt.Println(time.Since(t0), err)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%+v\n", st)
		if i == 0 {
			time.Sleep(time.Second)
			b, _ := exec.Command("sh", "-c", fmt.Sprintf("cat /proc/%d/smaps | egrep \"^[0-9a-f]+-|Private|Rss|Anonymous\"; ls /proc/%d/task; cat /proc/%d/task/*/stat | cut -c1-90;ls -l /proc/%d/fd", st.Executor.Pid,st.Executor.Pid,st.Executor.Pid,st.Executor.Pid)).CombinedOutput()
			fmt.Println(string(b))
			s, err := c.Stats(context.Background())
			fmt.Printf("%+v %v\n", s, err)
			t0 = time.Now()
		}
		t0 = time.Now()
		fmt.Println(c.Stop(context.Background(), 15, time.Second), time.Since(t0))
		e, err := c.Wait(context.Background())
		fmt.Printf("%+v %v\n", e, err)
	}
}
