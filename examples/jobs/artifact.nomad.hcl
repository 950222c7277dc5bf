# Nomad downloads and verifies the unikernel. The plugin's image_paths need not
# contain it, because it is in the task's own directory.

variable "source" {
  description = "URL of the unikernel hello.spt."
  type        = string
}

variable "checksum" {
  description = "Digest of the unikernel, such as sha256:0123…"
  type        = string
}

job "artifact" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "lkl"

      artifact {
        source      = var.source
        destination = "local/hello.spt"
        mode        = "file"

        options {
          checksum = var.checksum
        }
      }

      config {
        kernel = "local/hello.spt"
        args   = ["downloaded"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
