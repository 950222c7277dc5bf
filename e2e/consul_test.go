// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/shoenig/test/must"
)

// checks of the service httpd, as the catalogue has them.
func checks() (consulapi.HealthChecks, error) {
	checks, _, err := consul.API.Health().Checks("httpd", nil)
	return checks, err
}

func TestConsul_CheckTurnsPassingAndGoesWithTheJob(t *testing.T) {
	needs(t)
	t.Parallel()
	job := parse(t, "consul.nomad.hcl", kernels())
	job.ID = ptr("consul-check")
	a := run(t, nomad, job)

	eventually(t, func() error {
		checks, err := checks()
		if err != nil {
			return err
		}
		if len(checks) == 0 {
			return errors.New("httpd is not registered")
		}
		if status := checks.AggregatedStatus(); status != consulapi.HealthPassing {
			return fmt.Errorf("httpd is %s: %s", status, checks[0].Output)
		}
		return nil
	})
	services, _, err := consul.API.Catalog().Service("httpd", "", nil)
	must.NoError(t, err)
	must.SliceLen(t, 1, services)
	url := fmt.Sprintf("http://%s:%d/", services[0].ServiceAddress, services[0].ServicePort)
	must.Eq(t, a.url(t), url)
	_, err = get(url)
	must.NoError(t, err)

	_, _, err = nomad.API.Jobs().Deregister(*job.ID, false, nil)
	must.NoError(t, err)
	eventually(t, func() error {
		services, _, err := consul.API.Catalog().Service("httpd", "", nil)
		if err == nil && len(services) > 0 {
			err = errors.New("httpd is still registered")
		}
		return err
	})
}
