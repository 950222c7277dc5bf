# nginx on Linux 6.1 as a unikernel: Debian's nginx and its kernel, in a process that
# is limited to nine system calls. A port of the host is mapped to it.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
  type        = string
  default     = "/opt/unikernels"
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
        kernel = "${var.kernels}/lkl-nginx.spt"

        # The driver makes a private ext4 disk from this directory. Linux mounts it
        # as the root. It contains nginx's configuration and the served files.
        rootfs = "${var.kernels}/lkl-nginx.root"
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
