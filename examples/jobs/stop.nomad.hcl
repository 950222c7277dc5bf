# A unikernel that exits when it receives the job's kill_signal. The driver sends the
# signal over a net device with the name "control". A stop kills a unikernel that does
# not have this device.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
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
