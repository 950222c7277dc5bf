# nginx with a configuration and a page from the job's templates. The guest finds the
# files of the task's local/ directory in /local.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
  type        = string
  default     = "/opt/unikernels"
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
        kernel = "${var.kernels}/lkl-nginx.spt"
        rootfs = "${var.kernels}/lkl-nginx.root"
        args   = ["-c", "/local/nginx.conf"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
