"""The vm's native half in C: maps, helpers, packet loops. Built to LLVM bitcode, once (see bitcode.py)."""
