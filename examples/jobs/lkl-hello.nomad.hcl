# The smallest LKL guest: a C program, built with lkl-cc, that prints its kernel, its
# arguments and its environment. White space in them is preserved.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "lkl-hello" {
  type = "batch"

  group "hello" {
    # The kernel declares a net device, which is the default of lkl-cc.
    network {
      mode = "bridge"
    }

    task "hello" {
      driver = "lkl"

      env {
        GREETING = "good morning"
      }

      config {
        image = "${var.registry}/lkl-hello:6.1"
        args  = ["one", "two words", "alloc=${NOMAD_SHORT_ALLOC_ID}"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
