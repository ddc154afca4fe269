"""The instruction set: opcodes, the table of legal encodings (forms), codec, assembler, disassembler, arithmetic."""
