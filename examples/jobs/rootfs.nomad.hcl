# A Linux guest from two files on the host instead of an image: the kernel, and a
# directory from which the driver makes the task's private disk.

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
