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
# file and exits with status 0. After a crash Nomad waits for its default delay of 15 seconds,
# which restart { delay } changes.
#
# A TCP check would succeed although Redis refuses writes, for example because its disk or
# its maxmemory is full. So HAProxy, the task "health", sends PING and SET to Redis each
# second. Its port answers with status 200, or with 503 as soon as two attempts in a row have
# failed. The log of the task "health" then has the answer of Redis, such as NOREPLICAS, OOM or
# MISCONF. Near maxmemory, Redis may accept this small value and refuse larger ones. The key
# "health" expires after 10 seconds. If Redis has a password, send AUTH first.

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

      port "health" {
        to = 8080
      }
    }

    service {
      name     = "redis"
      port     = "redis"
      provider = "nomad"

      check {
        type     = "http"
        port     = "health"
        path     = "/"
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
        ports = ["redis"]

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

    task "health" {
      driver = "lkl"

      template {
        destination = "local/haproxy.cfg"
        data        = <<-END
          defaults
            timeout connect 1s
            timeout client 5s
            timeout server 5s

          frontend health
            bind :8080
            mode http
            monitor-uri /
            monitor fail if { nbsrv(redis) eq 0 }

          backend redis
            option tcp-check
            tcp-check send "PING\r\n"
            tcp-check expect min-recv 7 error-status L7STS on-error "%[res.payload(0,0)]" string +PONG
            tcp-check send "SET health 1 EX 10\r\n"
            tcp-check expect min-recv 5 error-status L7STS on-error "%[res.payload(0,0)]" string +OK
            server redis 127.0.0.1:6379 check inter 1s fall 2
        END
      }

      config {
        image = "${var.registry}/haproxy:2.6"
        args  = ["-f", "/local/haproxy.cfg"]
        ports = ["health"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
