# The smallest job: a unikernel that says what it was started with, and ends.
# Read it with: nomad alloc logs -job hello

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "hello" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "lkl"

      config {
        kernel = "${var.kernels}/hello.spt"
        args   = ["from", "alloc=${NOMAD_SHORT_ALLOC_ID}"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
