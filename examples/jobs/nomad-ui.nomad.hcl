# nginx in front of the web interface and API of Nomad's servers.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

variable "servers" {
  description = "Addresses of the HTTP API of Nomad's servers."
  type        = list(string)
  default     = ["10.0.0.11:4646", "10.0.0.12:4646", "10.0.0.13:4646"]
}

job "nomad-ui" {
  group "nginx" {
    network {
      mode = "bridge"

      port "http" {
        to = 80
      }
    }

    task "nginx" {
      driver = "lkl"

      template {
        destination = "local/nginx.conf"
        data        = <<-END
          daemon off;
          master_process off;
          error_log stderr notice;

          events {}

          http {
            access_log /dev/stdout;

            # A terminal in the interface uses a WebSocket to one server.
            upstream nomad {
              ip_hash;
          %{for server in var.servers~}
              server ${server};
          %{endfor~}
            }

            server {
              listen 80;

              location / {
                proxy_pass http://nomad;
                proxy_http_version 1.1;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;

                # A blocking query takes 5 minutes and up to 1/16 of it.
                proxy_read_timeout 319s;
                proxy_buffering off;

                # Nomad accepts a WebSocket only from its own address.
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection "upgrade";
                proxy_set_header Origin $scheme://$proxy_host;
              }
            }
          }
        END
      }

      config {
        image = "${var.registry}/nginx:1.22"
        args  = ["-c", "/local/nginx.conf"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
