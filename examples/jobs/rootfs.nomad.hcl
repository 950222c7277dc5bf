# A Linux guest from a kernel and a directory on the host, instead of an image. The
# driver makes the task's private disk from the directory.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
  type        = string
  default     = "/opt/unikernels"
}

job "rootfs" {
  type = "batch"

  group "hello" {
    network {
      mode = "bridge"
    }

    task "hello" {
      driver = "lkl"

      config {
        kernel = "${var.kernels}/lkl-hello.spt"
        rootfs = "${var.kernels}/lkl-hello.root"
        args   = ["from two files"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
