"""Sets of numbers: what may be in a register. They know no eBPF except the opcodes that select an operation."""
