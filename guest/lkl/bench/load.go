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

func (b *bench) redis(p plan) ([]result, error) {
	defer b.end()
	if err := b.guest("build/guest/lkl-redis.spt", "256", "build/guest/lkl-redis.root", "6379", "--appendonly", "no", "--protected-mode", "no"); err != nil {
		return nil, err
	}
	native := in(b.native, "redis-server", "--appendonly", "no", "--save", "", "--protected-mode", "no", "--dir", b.dir)
	if err := b.serve(native, nativeAddress+":6379"); err != nil {
		return nil, err
	}
	var results []result
	for _, pipeline := range []int{1, 16} {
		rates := map[string][]float64{}
		for range p.rounds {
			for _, host := range []string{guestAddress, nativeAddress} {
				out, err := in(b.load, "timeout", "120", "redis-benchmark", "-h", host, "-c", "50", "-t", "set,get", "--csv",
					"-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(p.requests*pipeline)).Output()
				if err != nil {
					return nil, fmt.Errorf("redis-benchmark: %w: %s", err, out)
				}
				rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
				if err != nil || len(rows) != 3 {
					return nil, fmt.Errorf("redis-benchmark's answer (%w): %s", err, out)
				}
				for _, row := range rows[1:] { // the first names the columns
					v, err := strconv.ParseFloat(row[1], 64)
					if err != nil {
						return nil, fmt.Errorf("redis-benchmark's answer: %w", err)
					}
					key := row[0] + host
					rates[key] = append(rates[key], v)
				}
			}
		}
		for _, test := range []string{"SET", "GET"} {
			name := fmt.Sprintf("redis %s -P %d", strings.ToLower(test), pipeline)
			results = append(results, rate(name, "1/s", rates[test+guestAddress], rates[test+nativeAddress]))
		}
	}
	return results, nil
}

// files are what nginx serves, by their names; in bytes.
var files = []struct {
	name string
	size int
}{{"0B", 0}, {"1KiB", 1 << 10}, {"100KiB", 100 << 10}, {"10MB", 10_000_000}}

// web starts nginx as a guest, and native.
func (b *bench) web() error {
	root := filepath.Join(b.dir, "web")
	if out, err := exec.Command("cp", "-a", "build/guest/lkl-nginx.root", root).CombinedOutput(); err != nil {
		return fmt.Errorf("copy nginx's root: %w: %s", err, out)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(root, "www", f.name), make([]byte, f.size), 0o644); err != nil {
			return err
		}
	}
	if err := b.guest("build/guest/lkl-nginx.spt", "128", root, "80"); err != nil {
		return err
	}
	conf := filepath.Join(b.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; error_log stderr warn; pid %[1]s/pid;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
client_body_temp_path %[1]s/t; proxy_temp_path %[1]s/t; fastcgi_temp_path %[1]s/t; uwsgi_temp_path %[1]s/t; scgi_temp_path %[1]s/t;
server { listen 80; root %[2]s/www; } }
`, b.dir, root)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	return b.serve(in(b.native, "nginx", "-c", conf), nativeAddress+":80")
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkLatency = regexp.MustCompile(`(50|99)%\s+([0-9.]+)(us|ms|s|m)\b`)
)

// wrk gives requests a second, and the latency's percentiles in milliseconds.
func (b *bench) wrk(host, file string, d time.Duration) (rate, p50, p99 float64, err error) {
	text, err := in(b.load, "wrk", "-t", "1", "-c", "100", "--timeout", "30s", "--latency", "-d", fmt.Sprintf("%.0fs", d.Seconds()),
		"http://"+host+"/"+file).Output()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("wrk: %w: %s", err, text)
	}
	out := string(text)
	if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		return 0, 0, 0, fmt.Errorf("errors at %s of %s: %s", file, host, out)
	}
	m, l := wrkRate.FindStringSubmatch(out), wrkLatency.FindAllStringSubmatch(out, -1)
	if m == nil || len(l) != 2 {
		return 0, 0, 0, fmt.Errorf("wrk's answer: %s", out)
	}
	rate, _ = strconv.ParseFloat(m[1], 64) // digits, by the expression
	if rate == 0 {
		return 0, 0, 0, fmt.Errorf("in %s no request for %s at %s came to its end", d, file, host)
	}
	ms := map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}
	for i, to := range []*float64{&p50, &p99} {
		*to, _ = strconv.ParseFloat(l[i][2], 64)
		*to *= ms[l[i][3]]
	}
	return rate, p50, p99, nil
}

func (b *bench) nginx(p plan) ([]result, error) {
	defer b.end()
	if err := b.web(); err != nil {
		return nil, err
	}
	var results []result
	for _, f := range files {
		load := p.load
		if f.size > 1<<20 { // 100 of them are a GB that has to be through
			load = max(load, 8*time.Second)
		}
		var got [2][3][]float64 // guest, native; rate, median, 99th percentile
		for range p.rounds {
			for i, host := range []string{guestAddress, nativeAddress} {
				rate, p50, p99, err := b.wrk(host, f.name, load)
				if err != nil {
					return nil, err
				}
				for j, v := range []float64{rate, p50, p99} {
					got[i][j] = append(got[i][j], v)
				}
			}
		}
		results = append(results, rate("nginx "+f.name, "1/s", got[0][0], got[1][0]), latency("nginx "+f.name+" latency", "ms", got[0][1], got[0][2], got[1][1], got[1][2]))
	}
	return results, nil
}
