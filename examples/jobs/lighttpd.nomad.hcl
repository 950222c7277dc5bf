# lighttpd, a web server, which serves a file that the job contains.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "lighttpd" {
  group "web" {
    network {
      mode = "bridge"

      port "http" {
        to = 80
      }
    }

    service {
      name     = "lighttpd"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "lighttpd" {
      driver = "lkl"

      template {
        destination = "local/www/index.html"
        data        = "Served by lighttpd.\n"
      }

      template {
        destination = "local/lighttpd.conf"
        data        = <<-END
          server.document-root = "/local/www"
          server.port = 80
          server.modules = ("mod_accesslog", "mod_deflate", "mod_indexfile", "mod_staticfile")
          accesslog.filename = "/dev/stdout"
          deflate.mimetypes = ("text/")
          deflate.allowed-encodings = ("gzip")
          index-file.names = ("index.html")
          mimetype.assign = (".html" => "text/html")
        END
      }

      config {
        image = "${var.registry}/lighttpd:1.4"
        args  = ["-f", "/local/lighttpd.conf"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
