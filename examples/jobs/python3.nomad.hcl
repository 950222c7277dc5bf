# A small Python service on Linux 6.1 as a unikernel. The job contains the program as
# a template. The guest contains the interpreter and its standard library.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "python3" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 8000
      }
    }

    task "python3" {
      driver = "lkl"

      template {
        destination = "local/service.py"
        data        = <<-END
          import json, os, platform, signal, sys
          from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


          class Service(BaseHTTPRequestHandler):
              def do_GET(self):
                  body = json.dumps({
                      "alloc": os.environ["NOMAD_SHORT_ALLOC_ID"],
                      "kernel": platform.release(),
                      "path": self.path,
                      "python": platform.python_version(),
                  }).encode()
                  self.send_response(200)
                  self.send_header("Content-Type", "application/json")
                  self.send_header("Content-Length", str(len(body)))
                  self.end_headers()
                  self.wfile.write(body)


          signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
          ThreadingHTTPServer(("", 8000), Service).serve_forever()
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
