# Redis on Linux 6.1 as a unikernel, with its data on a disk that outlives the task. The
# disk is an image in the client's host volume "data":
#
#   client {
#     host_volume "data" {
#       path = "/opt/data"
#     }
#   }
#
# Writes that Redis has synced survive a restart, an upgrade of the agent or the plugin,
# a reschedule on the same client, and SIGKILL. Without a volume, use
# source = "alloc/data/redis.img" with ephemeral_disk { sticky = true }.
#
# Redis rewrites the append-only file while clients wait. The file takes at most three
# times maxmemory of the disk. When the job stops, Redis receives SIGTERM, writes the
# file and exits with status 0.

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

    volume "data" {
      type   = "host"
      source = "data"
    }

    task "redis" {
      driver       = "lkl"
      kill_timeout = "20s"

      volume_mount {
        volume      = "data"
        destination = "/volume"
      }

      config {
        image = "${var.registry}/redis:7.0"
        args  = ["/etc/redis.conf", "--maxmemory", "64mb"]

        disk "data" {
          source = "/volume/${NOMAD_JOB_ID}.img"
          size   = "512MiB"
          mount  = "/data"
        }
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }
  }
}
