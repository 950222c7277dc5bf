# The shell of SQLite in a batch job: it adds a row to a database on the client's host volume
# "data" and prints all rows.
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

job "sqlite3" {
  type = "batch"

  group "sqlite3" {
    # The kernel declares a net device, which is the default of lkl-cc.
    network {
      mode = "bridge"
    }

    volume "data" {
      type   = "host"
      source = "data"
    }

    task "sqlite3" {
      driver = "lkl"

      volume_mount {
        volume      = "data"
        destination = "/data"
      }

      template {
        destination = "local/visit.sql"
        data        = <<-END
          CREATE TABLE IF NOT EXISTS visits (alloc TEXT);
          INSERT INTO visits VALUES ('{{ env "NOMAD_SHORT_ALLOC_ID" }}');
          SELECT 'visit ' || rowid || ' by ' || alloc FROM visits;
        END
      }

      config {
        image = "${var.registry}/sqlite3:3.40"
        args  = ["/data/visits.db", ".read /local/visit.sql"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
