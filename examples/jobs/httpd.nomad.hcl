# A web server as a unikernel: one program with its own network stack, in a process
# that is limited to nine system calls. A port of the host is mapped to it.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
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

        # This guest gets its addresses as arguments. The driver replaces the
        # placeholders with the addresses of the alloc's network.
        args = ["ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=8080"]
      }

      # The memory limit of the task. 4 MiB plus 1/512 of it are overhead,
      # and the guest has the rest.
      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
