"""BTF, the kernel's type format: read and write it, ask it, decode values by it, relocate by it, print it as C.

Start at :func:`skep.btf.reader.parse_btf`. Nothing here touches the host.
"""
