# A unikernel with a disk. The directory becomes a private ext4 image of the size
# given, which ends with the task; this guest then writes over all of it and
# reads it back, and ends with status 1 if anything differs.

variable "kernels" {
  description = "Directory with the unikernels: one of image_paths in the plugin's config block."
  type        = string
  default     = "/opt/unikernels"
}

job "disk" {
  type = "batch"

  group "disk" {
    task "disk" {
      driver = "lkl"

      template {
        destination = "local/root/etc/motd"
        data        = "This file is on the guest's disk.\n"
      }

      config {
        kernel      = "${var.kernels}/disk.spt"
        rootfs      = "local/root"
        rootfs_size = "16MiB"
        args        = ["seed=42"]
      }

      resources {
        cpu    = 100
        memory = 16
      }
    }
  }
}
