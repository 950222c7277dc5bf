# A web server as a unikernel: one program with its own network stack, in a
# process of nine system calls, behind a port of the host.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "httpd" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    service {
      name     = "httpd"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "httpd" {
      driver = "lkl"

      config {
        kernel = "${var.kernels}/httpd.spt"

        # This guest is told its addresses in its arguments. The driver fills
        # in those of the alloc's network when the task starts.
        args = ["ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=8080"]
      }

      # All that the task may use. 4 MiB and 1/512 of it are for running the
      # guest; the rest is the guest's own memory.
      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
