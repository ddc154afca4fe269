"""Run a tracepoint program on a context of our own making, without any privileges, and read what it reports."""

import struct
from pathlib import Path

import skep

O_WRONLY, O_CREAT = 1, 64
SYS_OPENAT = 257

# struct openat_args: common fields, syscall number, then the four arguments of openat(2)
context = struct.pack("<QqQQQQ", 0, SYS_OPENAT, 0, 0, O_WRONLY | O_CREAT, 0o644)

with skep.load(skep.compile(Path(__file__).with_name("openat.bpf.c"))) as tracer:
    tracer.programs["openat"].run(ctx=context)
    for event in tracer.maps["events"].events("event"):
        print(f"pid {event['pid']} ({event['comm']}) opened a file with flags {event['flags']:#o}")
    print("opened:", tracer.variables["opened"].value)
