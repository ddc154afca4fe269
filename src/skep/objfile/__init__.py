"""Object files: ELF of clang's BPF target to an ObjectSpec. Pure: bytes in, blueprint out."""

from skep.objfile.reader import read_object

__all__ = ["read_object"]
