# memcached, a cache in memory. Its -m option is the size of the cache in MiB. The task needs 48 MiB
# more.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "memcached" {
  group "cache" {
    network {
      mode = "bridge"

      port "memcached" {
        to = 11211
      }
    }

    service {
      name     = "memcached"
      port     = "memcached"
      provider = "nomad"

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "memcached" {
      driver = "lkl"

      config {
        image = "${var.registry}/memcached:1.6"
        args  = ["-m", "64", "-t", "1"]
      }

      resources {
        cpu    = 100
        memory = 112
      }
    }
  }
}
