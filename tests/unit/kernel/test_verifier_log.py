"""The kernel verifier's log, in the shapes that it has."""

from __future__ import annotations

from skep.kernel.verifier_log import parse_log

NULL = """\
0: R1=ctx() R10=fp0
; __u32 key = 1; @ rej.bpf.c:8
0: (b4) w1 = 1                        ; R1=1
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=hits,ks=4,vs=8)
; *v += 1; @ rej.bpf.c:10
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
PACKET = """\
func#0 @0
0: R1=ctx() R10=fp0
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)
1: (71) r0 = *(u8 *)(r2 +0)
invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)
R2 offset is outside of the packet
verification time 34 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
STRUCTURE = """\
unreachable insn 3
processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
FROM = """\
from 4 to 6: R0=0 R10=fp0
6: R0=0 R10=fp0
6: (95) exit
At program exit the register R0 has smin=0 smax=0 should have been in [1, 2]
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
ACCEPTED = "verification time 34 usec\nstack depth 16+0\nprocessed 42 insns (limit 1000000) max_states_per_insn 1\n"


def test_the_last_line_is_the_sentence() -> None:
    found = parse_log(NULL)
    assert found.sentence == "R0 invalid mem access 'map_value_or_null'"
    assert (found.insn, found.insn_text, found.processed_insns) == (7, "r1 = *(u64 *)(r0 +0)", 7)
    assert found.state == "R0=map_value_or_null(id=1,map=hits,ks=4,vs=8)"


def test_lines_before_it_are_reasons() -> None:
    found = parse_log(PACKET)
    assert found.sentence == "R2 offset is outside of the packet"
    assert found.reasons == ("invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)",)
    assert found.insn == 1


def test_structure_is_judged_before_any_instruction() -> None:
    found = parse_log(STRUCTURE)
    assert (found.sentence, found.insn, found.processed_insns) == ("unreachable insn 3", 3, 0)


def test_states_are_no_sentences() -> None:
    found = parse_log(FROM)
    assert found.sentence.startswith("At program exit the register R0")
    assert (found.insn, found.state) == (6, "R0=0 R10=fp0")


def test_an_accepted_program_has_no_sentence() -> None:
    found = parse_log(ACCEPTED)
    assert (found.sentence, found.insn, found.processed_insns) == ("", None, 42)


def test_nothing_gives_nothing() -> None:
    assert parse_log("").sentence == ""
    assert parse_log("\n\n \n").insn is None
