# nginx on Linux 6.1 as a unikernel: Debian's nginx, its file system and its
# kernel in a process of nine system calls, behind a port of the host.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
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

        # Becomes the private ext4 disk that Linux mounts as its root: nginx's
        # configuration and the files that it serves.
        rootfs = "${var.kernels}/lkl-nginx.root"
      }

      # All that the task may use. 4 MiB and 1/512 of it are for running the
      # guest; the rest is the guest's own memory.
      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
