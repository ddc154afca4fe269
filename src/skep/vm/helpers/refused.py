"""Helpers that the vm refuses when a program is loaded, and why. One sentence each, for the user.

Together with helpers.table this covers every helper that the kernel has (a test counts).
"""

from __future__ import annotations

from collections.abc import Mapping

_NO_SOCKET = "packets of the vm engine belong to no socket"
_NO_LOOKUP = "the vm engine has no network stack to look up sockets in"
_NO_DEVICE = "the vm engine has no network devices, routes or neighbours"
_NO_TUNNEL = "packets of the vm engine carry no tunnel metadata"
_NO_CGROUP = "the vm engine has no control groups"
_NO_STORAGE = "the vm engine has no sockets, inodes, tasks or cgroups to keep storage with"
_NO_KERNEL = "the vm engine has no kernel objects: there is no struct to point at"
_NO_STACK = "the vm engine runs no kernel code whose stack could be taken"
_NO_COUNTER = "the vm engine has no performance counters"
_NO_TRACING = "the vm engine does not attach to kernel functions"
_NO_SEQ = "the vm engine has no iterators that write to a seq_file"
_NO_TIMER = "the vm engine has no timers yet"
_NO_SYNCOOKIE = "the vm engine has no TCP stack that makes SYN cookies"
_NO_LWT = "the vm engine has no lightweight tunnels"
_NO_MSG = "the vm engine has no sockmaps: there are no messages"
_NO_TCP = "the vm engine has no TCP connections"
_NO_INFRARED = "the vm engine has no infrared receivers"
_NO_SYSCTL = "the vm engine has no sysctl knobs"
_NO_SYSCALL = "a program of the vm engine makes no system calls"
_NO_WRITE = "writing to arbitrary memory of this process would break its safety"

_BY_REASON: Mapping[str, tuple[int, ...]] = {
    "a packet of a capture file cannot be sent a second time": (13,),
    _NO_CGROUP: (17, 33, 37, 80, 123, 186, 187),
    _NO_TUNNEL: (20, 21, 29, 30, 66),
    _NO_COUNTER: (22, 55, 56, 119, 176),
    _NO_STACK: (27, 67, 141),
    _NO_KERNEL: (35, 147, 149, 153, 154, 158, 159, 161, 162, 175, 180, 191, 193, 194),
    _NO_WRITE: (36,),
    _NO_SOCKET: (49, 57, 64, 95, 96, 98, 122, 124, 128, 129, 136, 137, 138, 139, 140, 178, 196),
    _NO_MSG: (52, 53, 60, 61, 62, 63, 70, 71, 72, 90, 91),
    "the vm engine has no kernel function whose result could be replaced": (58,),
    _NO_TCP: (59, 116, 142, 143, 144),
    _NO_DEVICE: (69, 152, 155, 163),
    _NO_LWT: (73, 74, 75, 76),
    _NO_INFRARED: (77, 78, 92),
    _NO_STORAGE: (81, 107, 108, 145, 146, 156, 157, 210, 211),
    "the vm engine has no groups of listening sockets": (82,),
    _NO_LOOKUP: (84, 85, 86, 99),
    _NO_SYNCOOKIE: (100, 110, 204, 205, 206, 207),
    _NO_SYSCTL: (101, 102, 103, 104),
    "a signal would go to the process that runs the vm engine itself": (109, 117),
    _NO_TRACING: (111, 121, 173, 183, 184, 185),
    "the vm engine does not look into PID namespaces": (120,),
    _NO_SEQ: (126, 127, 150),
    _NO_SYSCALL: (166, 167, 168, 179),
    _NO_TIMER: (169, 170, 171, 172),
}

#: helper number -> reason. Goes to Target.refused_helpers, so that the verifier can say where in the source.
REFUSED: Mapping[int, str] = {number: reason for reason, numbers in _BY_REASON.items() for number in numbers}
