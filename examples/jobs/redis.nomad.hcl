# Redis on Linux 6.1 as a unikernel. When the job stops, Redis receives SIGTERM, writes
# its append-only file and exits with status 0. Linux then unmounts the disk. The
# driver removes the disk after the task. Volumes are not supported yet, so data that
# must outlive the task needs a replica. Redis rewrites the append-only file while clients
# wait. The file takes at most three times maxmemory of the disk.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
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
        image       = "${var.registry}/redis:7.0"
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
