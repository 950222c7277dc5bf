# A unikernel that ends by itself when it is told to: it has a net device named
# "control", over which the driver passes the job's kill_signal on. Without such
# a device, a stop ends a unikernel as it does any process that ignores signals.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "stop" {
  group "control" {
    task "control" {
      driver       = "lkl"
      kill_signal  = "SIGTERM"
      kill_timeout = "5s"

      config {
        kernel = "${var.kernels}/control.spt"
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
