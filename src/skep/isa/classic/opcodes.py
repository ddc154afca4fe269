"""Bit fields of a classic opcode, with the numbers of uapi linux/bpf_common.h and linux/filter.h."""

from __future__ import annotations

CLASS_MASK = 0x07
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)

SIZE_MASK = 0x18
W, H, B = 0x00, 0x08, 0x10
SIZE_BYTES = {W: 4, H: 2, B: 1}

MODE_MASK = 0xE0
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0

OP_MASK = 0xF0
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = (code << 4 for code in range(11))
JA, JEQ, JGT, JGE, JSET = (code << 4 for code in range(5))

SOURCE_MASK = 0x08
K, X = 0x00, 0x08
RET_A = 0x10

TAX, TXA = 0x00, 0x80

MEMORY_WORDS = 16  # BPF_MEMWORDS
MAX_INSNS = 4096  # BPF_MAXINSNS: what Linux takes

# Linux: loads from these offsets (k of LD|ABS, unsigned) read something else than packet bytes (SKF_AD_OFF ...).
ANCILLARY = 0xFFFFF000
NETWORK_OFFSETS = 0xFFF00000
LINK_OFFSETS = 0xFFE00000
NEGATIVE = 0x80000000  # from here on an offset is negative: outside every packet

PROTOCOL, PKTTYPE, IFINDEX, NLATTR, NLATTR_NEST, MARK, QUEUE, HATYPE = range(0, 32, 4)
RXHASH, CPU, ALU_XOR_X, VLAN_TAG, VLAN_TAG_PRESENT, PAY_OFFSET, RANDOM, VLAN_TPID = range(32, 64, 4)
ANCILLARY_NAMES = {
    PROTOCOL: "proto", PKTTYPE: "type", IFINDEX: "ifidx", NLATTR: "nla", NLATTR_NEST: "nlan", MARK: "mark",
    QUEUE: "queue", HATYPE: "hatype", RXHASH: "rxhash", CPU: "cpu", ALU_XOR_X: "xor x", VLAN_TAG: "vlan_tci",
    VLAN_TAG_PRESENT: "vlan_avail", PAY_OFFSET: "poff", RANDOM: "rand", VLAN_TPID: "vlan_tpid",
}  # fmt: skip
