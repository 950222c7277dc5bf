# The web server of httpd.nomad.hcl as a service in Consul, which asks it every
# second whether it is well. The agent needs a consul block in its configuration.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "httpd-consul" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    service {
      name = "httpd"
      port = "http"

      check {
        type     = "http"
        path     = "/"
        interval = "1s"
        timeout  = "1s"
      }
    }

    task "httpd" {
      driver = "lkl"

      config {
        kernel = "${var.kernels}/httpd.spt"
        args   = ["ip={{ipv4}}", "gw={{ipv4_gateway}}", "port=8080"]
      }

      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
