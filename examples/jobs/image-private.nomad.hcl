# An image from a registry with a password, which comes from a Nomad variable. To store
# the password: nomad var put nomad/jobs/image-private password=…

variable "image" {
  description = "Reference of the image, by digest: every alloc runs the same bytes."
  type        = string
}

variable "username" {
  description = "Name of the registry's user."
  type        = string
}

job "image-private" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "lkl"

      template {
        destination = "secrets/registry.env"
        env         = true
        data        = <<-END
          REGISTRY_PASSWORD={{ with nomadVar "nomad/jobs/image-private" }}{{ .password | toJSON }}{{ end }}
        END
      }

      config {
        image = var.image
        args  = ["from", "a", "private", "registry"]

        auth {
          username = var.username
          password = "${REGISTRY_PASSWORD}"
        }
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
