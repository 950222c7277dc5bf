# A web site of three tasks with one address, which reach each other on 127.0.0.1: nginx
# and Redis as unikernels, and a Python program as a process between them. The program
# counts the visits in Redis, so the check also fails when Redis refuses writes. It needs
# the raw_exec driver, and python3 on the client.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "group" {
  group "site" {
    network {
      mode = "bridge"

      port "http" {
        to = 80
      }
    }

    service {
      name     = "site"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "1s"
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
                proxy_pass http://127.0.0.1:9000;
              }
            }
          }
        END
      }

      config {
        image = "${var.registry}/nginx:1.22"
        args  = ["-c", "/local/nginx.conf"]

        # The labels and numbers of the ports on which this guest listens. With a single
        # guest in the group, they need not be listed.
        ports = ["http"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }

    task "redis" {
      driver = "lkl"

      config {
        image = "${var.registry}/redis:7.0"
        args  = ["/etc/redis.conf", "--bind", "127.0.0.1"]
        ports = ["6379"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }

    task "counter" {
      driver = "raw_exec"

      template {
        destination = "local/counter.py"
        data        = <<-END
          import socket
          from http.server import BaseHTTPRequestHandler, HTTPServer


          class Counter(BaseHTTPRequestHandler):
              def do_GET(self):
                  with socket.create_connection(("127.0.0.1", 6379)) as redis:
                      redis.sendall(b"INCR visits\r\n")
                      answer = redis.recv(64)  # :NUMBER, or -ERROR
                  self.send_response(200 if answer.startswith(b":") else 500)
                  self.end_headers()
                  self.wfile.write(b"visit " + answer.strip(b":\r\n") + b"\n")


          HTTPServer(("127.0.0.1", 9000), Counter).serve_forever()
        END
      }

      config {
        command = "python3"
        args    = ["${NOMAD_TASK_DIR}/counter.py"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
