# nginx as a unikernel in the network of the host, without a bridge or CNI plugins. The
# guest is reached only at its ports of the group, and the rest of the host's network
# stays as it is. The ports below 20000 are outside of Nomad's range of dynamic ports.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "host" {
  group "web" {
    network {
      mode = "host"

      port "http" {
        static = 8088
        to     = 80
      }
    }

    service {
      name     = "host-web"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "nginx" {
      driver = "lkl"

      config {
        image = "${var.registry}/nginx:1.22"
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
