# Two groups of Consul's service mesh. nginx and a Python service are unikernels. Each
# listens on, or connects to, 127.0.0.1 only. The sidecars encrypt and authorize the
# connection between the groups. They are Consul's own proxy, as processes: the client
# needs the raw_exec driver and the program consul on the agent's PATH.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

variable "consul" {
  description = "Consul's HTTP API for the sidecars. A socket is also reached from a group's network."
  type        = string
  default     = "unix:///run/consul/http.sock"
}

job "connect" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 80
      }
    }

    service {
      name = "example-web"
      port = "80"

      connect {
        sidecar_service {
          proxy {
            upstreams {
              destination_name = "example-api"
              local_bind_port  = 7001
            }
          }
        }

        sidecar_task {
          driver = "raw_exec"

          config {
            command = "consul"

            args = [
              "connect", "proxy",
              "-service", "example-web",
              "-service-addr", "127.0.0.1:80",
              "-listen", "0.0.0.0:${NOMAD_PORT_connect_proxy_example_web}",
              "-upstream", "example-api:7001",
            ]
          }

          env {
            CONSUL_HTTP_ADDR = var.consul
          }

          resources {
            cpu    = 50
            memory = 128
          }
        }
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
            access_log off;

            server {
              listen 80;

              location / {
                proxy_pass http://{{ env "NOMAD_UPSTREAM_ADDR_example_api" }};
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

  group "api" {
    network {
      mode = "bridge"
    }

    service {
      name = "example-api"
      port = "9001"

      connect {
        sidecar_service {}

        sidecar_task {
          driver = "raw_exec"

          config {
            command = "consul"

            args = [
              "connect", "proxy",
              "-service", "example-api",
              "-service-addr", "127.0.0.1:9001",
              "-listen", "0.0.0.0:${NOMAD_PORT_connect_proxy_example_api}",
            ]
          }

          env {
            CONSUL_HTTP_ADDR = var.consul
          }

          resources {
            cpu    = 50
            memory = 128
          }
        }
      }
    }

    task "python3" {
      driver = "lkl"

      template {
        destination = "local/service.py"
        data        = <<-END
          import os
          from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


          class Service(BaseHTTPRequestHandler):
              def do_GET(self):
                  self.send_response(200)
                  self.end_headers()
                  self.wfile.write(f"alloc {os.environ['NOMAD_SHORT_ALLOC_ID']}\n".encode())


          ThreadingHTTPServer(("127.0.0.1", 9001), Service).serve_forever()
        END
      }

      config {
        image = "${var.registry}/python3:3.11"
        args  = ["/local/service.py"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
