# The smallest job: a unikernel that prints its command line and exits. To read the
# output: nomad alloc logs -job hello

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "hello" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "lkl"

      config {
        image = "${var.registry}/hello:1.0"
        args  = ["from", "alloc=${NOMAD_SHORT_ALLOC_ID}"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
