# A unikernel that Nomad downloads and verifies, instead of one that is installed
# on the clients: nothing has to be allowed in the plugin's configuration.

variable "source" {
  description = "URL of the unikernel hello.spt."
  type        = string
}

variable "checksum" {
  description = "Its digest, such as sha256:0123…"
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
