# nginx on Linux 6.1 as a unikernel: Debian's nginx and its kernel, in a process that
# is limited to nine system calls. A port of the host is mapped to it.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "nginx" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 80
      }
    }

    service {
      name     = "nginx"
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
        # The image's ENTRYPOINT is the kernel with nginx in it. The driver makes a
        # private disk from the other files, which Linux mounts as its root.
        image = "${var.registry}/nginx:1.22"
      }

      # The memory limit of the task. 4 MiB plus 1/512 of it are overhead,
      # and the guest has the rest.
      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
