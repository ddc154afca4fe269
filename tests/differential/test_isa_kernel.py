"""The running kernel judges the instruction set: its verifier prints our text, its machine computes our results."""

from __future__ import annotations

import random
import re
import struct

import pytest

from skep.abi.prog_types import ProgType
from skep.isa import arithmetic
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.isa.disassembler import disassemble
from skep.isa.forms import FORMS, Form, explain_illegal, find_form
from skep.isa.instruction import Instruction, slots
from skep.kernel.bpf import programs
from skep.kernel.bpf.call import BpfCallError

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not programs.is_allowed(), reason="loading programs needs Linux with CAP_BPF"),
]

_LINE = re.compile(r"^(\d+): (\([0-9a-f]{2}\) .*?)(?:\s+;.*)?$")
_SETUP = "r0 = 7\nr6 = r1\nr7 = r1\nr8 = 3\nr9 = 5\n*(u64 *)(r10 -8) = 7\n*(u64 *)(r10 -16) = 9\n"

# Rows whose placeholders alone make no loadable program, and rows that are not tried, with the reason.
_LINES = {
    "neg64": "r8 = -r8", "neg32": "w8 = -w8", "ja": "goto pc+0", "gotol": "gotol pc+0", "may_goto": "may_goto pc+0",
    "exit": "r0 = 0\nif r8 == r8 goto pc+1\nexit", "call_helper": "call unknown#5",
    "call_local": "call pc+2\nr0 = 0\nexit\nr0 = 4", "load_imm64": "r8 = 0x1122334455667788",
}  # fmt: skip
_NOT_HERE = {
    "addr_space_cast": "needs an arena map",
    "gotox": "Linux 6.19",
    "callx": "Linux never accepts it",
    "call_kfunc": "needs a BTF id of this kernel",
    "load_function": "needs BTF func_info",
    "load_map_fd": "printed as an address",
    "load_map_value": "printed as an address",
    "load_btf_id": "needs a BTF id of this kernel",
    "load_map_index": "needs fd_array",
    "load_map_index_value": "needs fd_array",
}


def full_log(code: bytes) -> str:
    """Every instruction, also of accepted programs: log level 2."""
    try:
        program, log = programs.load(programs.LoadRequest(ProgType.SOCKET_FILTER, code), programs.LOG_ALL)
    except BpfCallError as error:
        pytest.fail(f"{error}\n{error.log}")
    program.close()
    return log


def line_for(name: str, text: str) -> str:
    if name in _LINES:
        return _LINES[name]
    base = "10" if "(r" in text else "8"
    src = "10" if re.search(r"\(r\{src\}", text) else "7" if "skb" in text else "9"
    if "skb" in text:
        src = "8"
    holes = {
        "dst": base if src != "10" else "8",
        "src": src,
        "off": "-8",
        "imm": "3",
        "uimm": "0xfffffffd",
        "jump": "pc+0",
    }
    return text.format(**holes)


@pytest.mark.parametrize("form", [form for form in FORMS if form.name not in _NOT_HERE], ids=lambda form: form.name)
def test_the_kernel_prints_what_we_print(form: Form) -> None:
    name, text = form.name, form.text
    source = _SETUP + line_for(name, text) + "\nr0 = 0\nexit\n"
    insns = assemble(source)
    used = [insn for insn in insns if (found := find_form(insn)) and found.name == name]
    assert used, source
    log = full_log(encode(insns))
    printed = {int(match[1]): match[2] for line in log.splitlines() if (match := _LINE.match(line))}
    compared = 0
    for slot, insn in enumerate(slots(insns)):
        if insn is None or slot not in printed:
            continue
        ours = disassemble(insn, slot).split(": ", 1)[1]
        theirs = printed[slot]
        assert ours == re.sub(r"call bpf_\w+#", "call unknown#", theirs)
        compared += insn in used
    assert compared


@pytest.mark.parametrize(
    "insn",
    [
        Instruction(0x0F, 1, 2, 1),  # add with off
        Instruction(0x07, 1, 2),  # immediate form with a source register
        Instruction(0xBF, 1, 2, 4),  # movsx of 4 bits
        Instruction(0xBC, 1, 2, 32),  # movsx of 32 to 32 bits
        Instruction(0xD7, 1, imm=8),  # bswap8
        Instruction(0xDF, 1, imm=16),  # bswap with X
        Instruction(0x87, 1, imm=1),  # neg with immediate
        Instruction(0x05, 1),  # ja with register
        Instruction(0x06, off=1, imm=1),  # gotol with off
        Instruction(0x95, imm=1),
        Instruction(0x85, 1, imm=5),
        Instruction(0x85, off=1, imm=5),
        Instruction(0x99, 1, 10, -8),  # 64-bit sign-extending load
        Instruction(0x79, 1, 10, -8, 1),
        Instruction(0x7B, 10, 1, -8, 1),
        Instruction(0x72, 10, 1, -8, 1),
        Instruction(0xDB, 10, 1, -8, 0x10),  # atomic subtraction
        Instruction(0xD3, 10, 1, -8, 0x00),  # 8-bit atomic add
        Instruction(0x38, imm=1),  # 64-bit LD_ABS
        Instruction(0x30, 1, imm=1),
        Instruction(0x18, 1, 7),
        Instruction(0x18, 1, 0, 1),
        Instruction(0xFF), Instruction(0x8E), Instruction(0x46, 1, 1, 0, 1), Instruction(0xE5, 1), Instruction(0xE6),
        Instruction(0x1D, 1, 11), Instruction(0xB7, 12),
    ],
)  # fmt: skip
def test_both_refuse(insn: Instruction) -> None:
    assert find_form(insn) is None
    assert explain_illegal(insn)
    text = "r1 = 1\nr2 = 2\n*(u64 *)(r10 -8) = 0\nr6 = 0"
    tail = assemble("r0 = 0\nexit")
    code = encode((*assemble(text)[:3], insn, *tail))
    with pytest.raises(BpfCallError) as caught:
        programs.load(programs.LoadRequest(ProgType.SOCKET_FILTER, code))
    assert caught.value.errno == 22


_VALUES = (
    0,
    1,
    2,
    7,
    31,
    32,
    63,
    64,
    0x7F,
    0x80,
    0xFFFF,
    0x8000,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
)


def test_the_machine_computes_what_we_compute() -> None:
    """Packet bytes 0-15 hold a and b; each result of an operation on them goes back into the packet."""
    forms = [form for form in FORMS if form.opcode & 7 in (op.ALU, op.ALU64) and form.name != "addr_space_cast"]
    randomness = random.Random(1)
    operations = []
    for form in forms:
        imm = randomness.choice((1, 3, 31, -2, -7, 0x7FFFFFFF)) if "{imm}" in form.text else 0
        if form.name[:3] in ("lsh", "rsh", "ars"):
            imm = 31 if imm else 0
        text = form.text.format(dst=4, src=5, imm=imm)
        operations.append(assemble(text)[0])
    size = 16 + 8 * len(operations)
    lines = [f"r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr0 = r2\nr0 += {size}\nif r0 > r3 goto out"]
    for index, insn in enumerate(operations):
        lines.append(
            f"r4 = *(u64 *)(r2 +0)\nr5 = *(u64 *)(r2 +8)\n{disassemble(insn)}\n*(u64 *)(r2 +{16 + 8 * index}) = r4"
        )
    code = encode(assemble("\n".join([*lines, "out: r0 = 2\nexit"])))
    program, _ = programs.load(programs.LoadRequest(ProgType.XDP, code))
    with program:
        for _ in range(300):
            a, b = (corner_or_noise(randomness) for _ in range(2))
            data = struct.pack("<QQ", a, b) + bytes(size - 16)
            run = programs.test_run(program.number, programs.RunRequest(data, data_out_size=size))
            results = struct.unpack(f"<{len(operations)}Q", run.data[16:size])
            for insn, result in zip(operations, results, strict=True):
                assert result == arithmetic.evaluate(insn, a, b), f"{disassemble(insn)} with r4 = {a:#x}, r5 = {b:#x}"


def corner_or_noise(randomness: random.Random) -> int:
    value = randomness.choice((*_VALUES, randomness.getrandbits(64), randomness.getrandbits(32)))
    return (-value if randomness.random() < 0.4 else value) & arithmetic.MASK64
