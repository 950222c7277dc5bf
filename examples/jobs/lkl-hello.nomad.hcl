# The smallest LKL guest: a C program, built with lkl-cc, that prints its kernel, its
# arguments and its environment. White space in them is preserved.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
  type        = string
  default     = "/opt/unikernels"
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
        kernel = "${var.kernels}/lkl-hello.spt"
        rootfs = "${var.kernels}/lkl-hello.root"
        args   = ["one", "two words", "alloc=${NOMAD_SHORT_ALLOC_ID}"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
