"""`make test-kernels`: the kernel suite on Debian's Linux 6.1 and 6.12 (in QEMU) and on the running kernel."""
