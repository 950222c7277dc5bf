# The web server of httpd.nomad.hcl as a service in Consul, with a check every
# second. The agent's configuration needs a consul block.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
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
