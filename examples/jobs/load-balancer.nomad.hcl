# nginx in front of a service with several instances. Nomad renders the list of instances again
# when it changes, and sends SIGHUP to nginx, which reads it. Try
# "nomad job scale load-balancer web 4".
#
# The instances have the address of the client's network_interface. "nomad agent -dev" uses
# 127.0.0.1, which a guest cannot reach: start it with -network-interface eth0.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "load-balancer" {
  group "nginx" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    task "nginx" {
      driver = "lkl"

      template {
        destination   = "local/upstreams.conf"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        splay         = "0s"
        data          = <<-END
          upstream web {
          {{- range nomadService "load-balancer-web" }}
            server {{ .Address }}:{{ .Port }};
          {{- else }}
            server 127.0.0.1:9; # no instance: nginx answers with an error
          {{- end }}
          }
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
            include /local/upstreams.conf;

            server {
              listen 8080;

              location / {
                proxy_pass http://web;
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

  group "web" {
    count = 2

    network {
      mode = "bridge"

      port "http" {
        to = 8000
      }
    }

    service {
      name     = "load-balancer-web"
      port     = "http"
      provider = "nomad"
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
            access_log off;
            default_type text/plain;

            server {
              listen 8000;
              root /local/www;
            }
          }
        END
      }

      template {
        destination = "local/www/index.html"
        data        = "instance {{ env \"NOMAD_ALLOC_INDEX\" }}\n"
      }

      config {
        image = "${var.registry}/nginx:1.22"
        args  = ["-c", "/local/nginx.conf"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
