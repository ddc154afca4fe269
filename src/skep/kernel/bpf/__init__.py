"""bpf(2): one function for each command (uapi linux/bpf.h, union bpf_attr; man bpf(2)). call.py is the one seam."""
