# redis on Linux 6.1 as a unikernel. A stop reaches it as SIGTERM: it writes its
# append-only file out, ends with status 0, and Linux unmounts the disk. The disk
# is the task's own and ends with it: data that has to outlive the task belongs
# into a replica, since volumes are not supported yet.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "redis" {
  group "redis" {
    network {
      mode = "bridge"

      port "redis" {
        to = 6379
      }
    }

    service {
      name     = "redis"
      port     = "redis"
      provider = "nomad"

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "redis" {
      driver       = "lkl"
      kill_timeout = "20s"

      config {
        kernel      = "${var.kernels}/lkl-redis.spt"
        rootfs      = "${var.kernels}/lkl-redis.root"
        rootfs_size = "512MiB"
        args        = ["/etc/redis.conf", "--maxmemory", "64mb"]
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }
  }
}
