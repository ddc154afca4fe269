"""What is loaded in this kernel, seen from outside: programs, maps, types, who holds them, what the kernel can do."""
