# A site with TLS. The certificate and its key are in a Nomad variable. When it changes, Nomad
# renders the files again and sends SIGHUP to nginx, which reads them. Make the variable first:
#
#   nomad var put nomad/jobs/nginx-tls certificate=@chain.pem key=@key.pem

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "nginx-tls" {
  group "web" {
    network {
      mode = "bridge"

      port "https" {
        to = 443
      }
    }

    task "nginx" {
      driver = "lkl"

      # The guest finds the task's secrets/ directory in /secrets.
      template {
        destination   = "secrets/tls.pem"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        splay         = "0s"
        data          = <<-END
          {{ with nomadVar (printf "nomad/jobs/%s" (env "NOMAD_JOB_ID")) -}}
          {{ .certificate }}
          {{ .key }}
          {{- end }}
        END
      }

      template {
        destination = "local/nginx.conf"
        data        = <<-END
          daemon off;
          master_process off;
          error_log stderr notice;

          events {}

          http {
            access_log /dev/stdout;
            default_type text/plain;
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_session_cache shared:tls:1m;

            server {
              listen 443 ssl http2;
              ssl_certificate /secrets/tls.pem;
              ssl_certificate_key /secrets/tls.pem;
              root /local/www;
            }
          }
        END
      }

      template {
        destination = "local/www/index.html"
        data        = "alloc {{ env \"NOMAD_SHORT_ALLOC_ID\" }} of {{ env \"NOMAD_JOB_NAME\" }}\n"
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
