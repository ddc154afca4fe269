"""Would an older kernel load it? What a program needs, with the Linux that brought each thing (tables: skep.abi)."""
