# HAProxy in front of a service with two instances. HAProxy checks them itself. Its reload needs
# a second process, so a new list of instances restarts the task. nginx needs no restart: see
# load-balancer.nomad.hcl.
#
# The instances have the address of the client's network_interface. "nomad agent -dev" uses
# 127.0.0.1, which a guest cannot reach: start it with -network-interface eth0.

variable "registry" {
  description = "Registry to which \"make images PUSH=…\" has pushed the images."
  type        = string
  default     = "127.0.0.1:5000"
}

job "haproxy" {
  group "haproxy" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    task "haproxy" {
      driver = "lkl"

      template {
        destination = "local/haproxy.cfg"
        change_mode = "restart"
        splay       = "0s"
        data        = <<-END
          global
            log stdout format raw local0
            hard-stop-after 4s

          defaults
            mode http
            log global
            option httplog
            timeout connect 5s
            timeout client 30s
            timeout server 30s

          frontend http
            bind :8080
            default_backend web

          backend web
            balance roundrobin
          {{- range nomadService "haproxy-web" }}
            server {{ .ID }} {{ .Address }}:{{ .Port }} check
          {{- end }}
        END
      }

      config {
        image = "${var.registry}/haproxy:2.6"
        args  = ["-f", "/local/haproxy.cfg"]
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
        to = 80
      }
    }

    service {
      name     = "haproxy-web"
      port     = "http"
      provider = "nomad"
    }

    task "lighttpd" {
      driver = "lkl"

      template {
        destination = "local/www/index.html"
        data        = "instance {{ env \"NOMAD_ALLOC_INDEX\" }}\n"
      }

      template {
        destination = "local/lighttpd.conf"
        data        = <<-END
          server.document-root = "/local/www"
          server.port = 80
          server.modules = ("mod_indexfile", "mod_staticfile")
          index-file.names = ("index.html")
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
