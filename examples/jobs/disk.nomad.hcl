# A unikernel with a disk. The driver makes a private ext4 image of this size from
# the directory, and removes it after the task. This guest overwrites the whole disk,
# reads it again, and exits with status 1 if the data differs.

variable "kernels" {
  description = "Directory of the unikernels. The plugin's image_paths must contain it."
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
