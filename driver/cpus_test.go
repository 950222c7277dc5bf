// SPDX-License-Identifier: MPL-2.0

package driver

import (
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/executor"
)

const sysCPU = "sys/devices/system/cpu/"

var readCPUsCases = map[string]struct {
	files map[string]string
	want  cpus
}{
	"the base frequency comes before the highest": {
		map[string]string{
			sysCPU + "online":                        "0-1\n",
			sysCPU + "cpu0/cpufreq/base_frequency":   "2100000\n",
			sysCPU + "cpu0/cpufreq/cpuinfo_max_freq": "3900000\n",
			sysCPU + "cpu1/cpufreq/base_frequency":   "1500000\n",
			"proc/cpuinfo":                           "cpu MHz\t\t: 800.000\n",
		},
		cpus{total: 3600, number: 2},
	},
	"acpi-cpufreq has a nominal frequency": {
		map[string]string{
			sysCPU + "online":                        "0\n",
			sysCPU + "cpu0/cpufreq/scaling_driver":   "acpi-cpufreq\n",
			sysCPU + "cpu0/acpi_cppc/nominal_freq":   "2450\n",
			sysCPU + "cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
		},
		cpus{total: 2450, number: 1},
	},
	"the highest frequency stands in for the base": {
		map[string]string{
			sysCPU + "online":                        "0\n",
			sysCPU + "cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
		},
		cpus{total: 3500, number: 1},
	},
	"offline processors do not count": {
		map[string]string{
			sysCPU + "online": "0,2-3\n",
			"proc/cpuinfo":    "processor\t: 0\ncpu MHz\t\t: 2596.152\n\nprocessor\t: 2\ncpu MHz\t\t: 1200.000\n",
		},
		cpus{total: 3 * 2596, number: 3},
	},
}

func TestReadCPUs(t *testing.T) {
	for name, c := range readCPUsCases {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for path, content := range c.files {
				root[path] = &fstest.MapFile{Data: []byte(content)}
			}
			got, err := readCPUs(root)
			must.NoError(t, err)
			must.Eq(t, c.want, got)
		})
	}
}

func TestReadCPUs_OnThisHost(t *testing.T) {
	c, err := readCPUs(os.DirFS("/"))
	must.NoError(t, err)
	must.Positive(t, c.total)
	must.Positive(t, c.number)
}

func TestReadCPUs_ReportsAHostWithoutSpeeds(t *testing.T) {
	_, err := readCPUs(fstest.MapFS{
		"sys/devices/system/cpu/online": {Data: []byte("0\n")},
		"proc/cpuinfo":                  {Data: []byte("processor : 0\n")},
	})
	must.ErrorContains(t, err, "speed of the processors")
}

func TestCPUs_Ticks(t *testing.T) {
	must.Eq(t, 1250, cpus{total: 10000, number: 4}.ticks(50))
	must.Eq(t, 0, cpus{}.ticks(50))
}

func TestCPUs_UsageIsTheShareOfTheInterval(t *testing.T) {
	c := cpus{total: 4000, number: 2}
	first := executor.Stats{Time: fixedTime, TotalNS: 5e9, UserNS: 4e9, SystemNS: 1e9, ExecutorNS: 1e9}
	must.Zero(t, c.usage(executor.Stats{}, first).ResourceUsage.CpuStats.Percent)

	second := executor.Stats{Time: fixedTime.Add(2 * time.Second), TotalNS: 6e9, UserNS: 46e8, SystemNS: 14e8, ExecutorNS: 12e8}
	cpu := c.usage(first, second).ResourceUsage.CpuStats
	must.Eq(t, 60, cpu.Percent)
	must.Eq(t, 30, cpu.UserMode)
	must.Eq(t, 20, cpu.SystemMode)
	must.Eq(t, 1200, cpu.TotalTicks)
}
