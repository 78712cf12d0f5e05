"""The commands of ``kubectl model``, one file each. Those that steer share one."""
