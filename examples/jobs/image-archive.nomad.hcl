# An image without a registry: Nomad downloads and verifies an archive that
# "lkl image build -o oci-archive:FILE" has written.

variable "source" {
  description = "URL of the archive."
  type        = string
}

variable "checksum" {
  description = "Digest of the archive, such as sha256:0123…"
  type        = string
}

job "image-archive" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "lkl"

      artifact {
        source      = var.source
        destination = "local/hello.tar"
        mode        = "file"

        options {
          archive  = false # Nomad must not unpack the archive
          checksum = var.checksum
        }
      }

      config {
        image = "oci-archive:local/hello.tar"
        args  = ["from", "an", "archive"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
