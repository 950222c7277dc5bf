# nginx with a configuration and a page of the job's own: what is in local/ when
# the task starts lies in /local of the guest.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
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
