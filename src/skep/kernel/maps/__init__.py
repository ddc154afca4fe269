"""Maps of the kernel engine: making them (create), using them (handle), names in bpffs (pins)."""
