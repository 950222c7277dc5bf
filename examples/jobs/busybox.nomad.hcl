# An applet of BusyBox in a batch job: awk adds numbers. The first argument names the applet. An
# applet cannot start another program, so there is no shell.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "busybox" {
  type = "batch"

  group "busybox" {
    # The kernel declares a net device, which is the default of lkl-cc.
    network {
      mode = "bridge"
    }

    task "awk" {
      driver = "lkl"

      template {
        destination = "local/numbers"
        data        = "40\n2\n"
      }

      config {
        image = "${var.registry}/busybox:1.35"
        args  = ["awk", "{ sum += $1 } END { print \"sum\", sum }", "/local/numbers"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
