"""Walking all paths of a program: depth first, the way the kernel does, with pruning."""
