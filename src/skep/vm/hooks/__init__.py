"""Where programs sit on the vm: on every packet of a capture file."""
