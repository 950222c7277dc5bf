# The smallest job: a unikernel that prints its command line and exits. To read the
# output: nomad alloc logs -job hello

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
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
