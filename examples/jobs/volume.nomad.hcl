# A service in Python that counts visits on a host volume, which outlives the job. The client
# needs the volume in its configuration:
#
#   client {
#     host_volume "data" {
#       path = "/srv/data"
#     }
#   }

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "volume" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 8000
      }
    }

    volume "data" {
      type   = "host"
      source = "data"
    }

    task "python3" {
      driver = "lkl"

      volume_mount {
        volume      = "data"
        destination = "/data"
      }

      template {
        destination = "local/service.py"
        data        = <<-END
          import os, signal, sys
          from http.server import BaseHTTPRequestHandler, HTTPServer

          PATH = "/data/visits"


          def count():
              try:
                  with open(PATH) as f:
                      visits = int(f.read()) + 1
              except FileNotFoundError:
                  visits = 1
              with open(PATH + ".new", "w") as f:
                  f.write("%d\n" % visits)
                  f.flush()
                  os.fsync(f.fileno())
              os.rename(PATH + ".new", PATH)
              return visits


          class Service(BaseHTTPRequestHandler):
              def do_GET(self):
                  body = b"visit %d\n" % count()
                  self.send_response(200)
                  self.send_header("Content-Length", str(len(body)))
                  self.end_headers()
                  self.wfile.write(body)


          signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
          HTTPServer(("", 8000), Service).serve_forever()
        END
      }

      config {
        image = "${var.registry}/python3:3.11"
        args  = ["/local/service.py"]
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
