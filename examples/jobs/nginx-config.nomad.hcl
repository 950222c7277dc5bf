# nginx with a configuration and a page from the job's templates. The guest finds the
# files of the task's local/ directory in /local.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "nginx-config" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
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
            default_type text/plain;

            server {
              listen 8080;
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
