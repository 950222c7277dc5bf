# Mosquitto, an MQTT broker, with its retained messages on the alloc's directory, which is live
# in the guest. "ephemeral_disk { sticky = true }" gives them to the job's next version.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "mosquitto" {
  group "broker" {
    ephemeral_disk {
      sticky = true
    }

    network {
      mode = "bridge"

      port "mqtt" {
        to = 1883
      }
    }

    service {
      name     = "mosquitto"
      port     = "mqtt"
      provider = "nomad"

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "mosquitto" {
      driver = "lkl"

      template {
        destination = "local/mosquitto.conf"
        data        = <<-END
          listener 1883
          allow_anonymous true
          user root
          persistence true
          persistence_location /alloc/data/
          autosave_interval 60
        END
      }

      config {
        image = "${var.registry}/mosquitto:2.0"
        args  = ["-c", "/local/mosquitto.conf"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
