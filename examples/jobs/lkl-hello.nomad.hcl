# The smallest LKL guest: a C program, built by lkl-cc, that says which kernel it
# runs on and what it was given. Linux is told the arguments and the environment
# whole, white space and all.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "lkl-hello" {
  type = "batch"

  group "hello" {
    # The kernel declares a net device, as lkl-cc gives it by default.
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
