// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var redisOptions = []string{"--appendonly", "no", "--protected-mode", "no"}

func (b *testbed) measureRedis(p settings) ([]result, error) {
	defer b.stopServers()
	if err := b.startGuest(guestMachine{"build/guest/lkl-redis.spt", "256", "build/guest/lkl-redis.root", "128M"}, "6379", redisOptions...); err != nil {
		return nil, err
	}
	native := append([]string{"redis-server", "--save", "", "--dir", b.dir}, redisOptions...)
	if err := b.startServer(inNamespace(b.nativeNS, native...), nativeAddress+":6379"); err != nil {
		return nil, err
	}
	var results []result
	for _, pipeline := range []int{1, 16} {
		rates := map[string][]float64{}
		for range p.rounds {
			for _, host := range []string{guestAddress, nativeAddress} {
				byCommand, err := b.runRedisBenchmark(host, pipeline, p.requests*pipeline)
				if err != nil {
					return nil, err
				}
				for command, rate := range byCommand {
					rates[command+host] = append(rates[command+host], rate)
				}
			}
		}
		for _, command := range []string{"SET", "GET"} {
			name := fmt.Sprintf("redis %s -P %d", strings.ToLower(command), pipeline)
			results = append(results, rateResult(name, "1/s", rates[command+guestAddress], rates[command+nativeAddress]))
		}
	}
	return results, nil
}

// runRedisBenchmark returns the requests per second for each command.
func (b *testbed) runRedisBenchmark(host string, pipeline, requests int) (map[string]float64, error) {
	out, err := inNamespace(b.loadNS, "timeout", "120", "redis-benchmark", "-h", host, "-c", "50", "-t", "set,get", "--csv",
		"-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(requests)).Output()
	if err != nil {
		return nil, fmt.Errorf("redis-benchmark: %w: %s", err, out)
	}
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("parse the output of redis-benchmark: %w: %s", err, out)
	}
	if len(rows) != 3 {
		return nil, fmt.Errorf("redis-benchmark printed %d rows instead of 3: %s", len(rows), out)
	}
	rates := map[string]float64{}
	for _, row := range rows[1:] { // the first row contains the titles
		if rates[row[0]], err = strconv.ParseFloat(row[1], 64); err != nil {
			return nil, fmt.Errorf("parse the output of redis-benchmark: %w", err)
		}
	}
	return rates, nil
}

// nginxFiles are the files that nginx serves, with their sizes in bytes.
var nginxFiles = []struct {
	name string
	size int
}{{"0B", 0}, {"1KiB", 1 << 10}, {"100KiB", 100 << 10}, {"10MB", 10_000_000}}

// prepareNginx returns a directory with nginx's root and files, and the native command.
func (b *testbed) prepareNginx() (root string, native []string, err error) {
	root = filepath.Join(b.dir, "web")
	if out, err := exec.Command("cp", "-a", "-T", "build/guest/lkl-nginx.root", root).CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("copy nginx's root: %w: %s", err, out)
	}
	for _, f := range nginxFiles {
		if err := os.WriteFile(filepath.Join(root, "www", f.name), make([]byte, f.size), 0o644); err != nil {
			return "", nil, err
		}
	}
	conf := filepath.Join(b.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; error_log stderr warn; pid %[1]s/pid;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
client_body_temp_path %[1]s/t; proxy_temp_path %[1]s/t; fastcgi_temp_path %[1]s/t; uwsgi_temp_path %[1]s/t; scgi_temp_path %[1]s/t;
server { listen 80; root %[2]s/www; } }
`, b.dir, root)
	return root, []string{"nginx", "-c", conf}, os.WriteFile(conf, []byte(text), 0o644)
}

// startNginx starts nginx in a guest and natively.
func (b *testbed) startNginx() error {
	root, native, err := b.prepareNginx()
	if err != nil {
		return err
	}
	if err := b.startGuest(guestMachine{"build/guest/lkl-nginx.spt", "128", root, "128M"}, "80"); err != nil {
		return err
	}
	return b.startServer(inNamespace(b.nativeNS, native...), nativeAddress+":80")
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkLatency = regexp.MustCompile(`(50|99)%\s+([0-9.]+)(us|ms|s|m)\b`)
)

// runWrk returns requests per second, and percentiles of the latency in
// milliseconds.
func (b *testbed) runWrk(host, file string, d time.Duration) (rate, p50, p99 float64, err error) {
	text, err := inNamespace(b.loadNS, "wrk", "-t", "1", "-c", "100", "--timeout", "30s", "--latency", "-d", fmt.Sprintf("%.0fs", d.Seconds()),
		"http://"+host+"/"+file).Output()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("wrk: %w: %s", err, text)
	}
	out := string(text)
	if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		return 0, 0, 0, fmt.Errorf("failed requests for %s at %s: %s", file, host, out)
	}
	m, l := wrkRate.FindStringSubmatch(out), wrkLatency.FindAllStringSubmatch(out, -1)
	if m == nil || len(l) != 2 {
		return 0, 0, 0, fmt.Errorf("unexpected output of wrk: %s", out)
	}
	rate, _ = strconv.ParseFloat(m[1], 64) // the pattern matches only numbers
	if rate == 0 {
		return 0, 0, 0, fmt.Errorf("no request for %s at %s completed in %s", file, host, d)
	}
	ms := map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}
	for i, to := range []*float64{&p50, &p99} {
		*to, _ = strconv.ParseFloat(l[i][2], 64)
		*to *= ms[l[i][3]]
	}
	return rate, p50, p99, nil
}

func (b *testbed) measureNginx(p settings) ([]result, error) {
	defer b.stopServers()
	if err := b.startNginx(); err != nil {
		return nil, err
	}
	var results []result
	for _, f := range nginxFiles {
		load := p.load
		if f.size > 1<<20 { // one request of each of the 100 connections transfers 1 GB
			load = max(load, 8*time.Second)
		}
		var measured [2]series // guest, native
		for range p.rounds {
			for i, host := range []string{guestAddress, nativeAddress} {
				rate, p50, p99, err := b.runWrk(host, f.name, load)
				if err != nil {
					return nil, err
				}
				measured[i].add(measurement{rate: rate, p50: p50, p99: p99})
			}
		}
		guest, native := measured[0], measured[1]
		results = append(results,
			rateResult("nginx "+f.name, "1/s", guest.rates, native.rates),
			latencyResult("nginx "+f.name+" latency", "ms", guest.latencies, native.latencies))
	}
	return results, nil
}
