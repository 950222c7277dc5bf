// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// services returns the services with the name httpd that an alloc has registered,
// with their checks.
func services(a *alloc) ([]*consulapi.ServiceEntry, error) {
	entries, _, err := consul.API.Health().Service("httpd", "", false, nil)
	return slices.DeleteFunc(entries, func(entry *consulapi.ServiceEntry) bool {
		return !strings.Contains(entry.Service.ID, a.ID)
	}), err
}

func TestConsul_ServiceIsRegisteredUntilTheJobStops(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	job := parse(t, "consul.nomad.hcl", kernels())
	job.ID = ptr("consul-check")
	a := run(t, nomad, job)

	var service *consulapi.ServiceEntry
	must.Wait(t, testenv.Eventually(func() error {
		found, err := services(a)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("httpd is registered %d times", len(found))
		}
		service = found[0]
		if status := service.Checks.AggregatedStatus(); status != consulapi.HealthPassing {
			return fmt.Errorf("httpd is %s", status)
		}
		return nil
	}))
	kinds := map[string]bool{}
	for _, check := range service.Checks {
		kinds[check.Type] = true
	}
	must.MapContainsKey(t, kinds, "http")
	url := fmt.Sprintf("http://%s:%d/", service.Service.Address, service.Service.Port)
	must.Eq(t, a.url(t), url)
	_, err := get(url)
	must.NoError(t, err)

	_, _, err = nomad.API.Jobs().Deregister(*job.ID, false, nil)
	must.NoError(t, err)
	must.Wait(t, testenv.Eventually(func() error {
		found, err := services(a)
		if err == nil && len(found) > 0 {
			err = errors.New("httpd is still registered")
		}
		return err
	}))
}
