"""V19: what an older kernel does not have (skep verify --kernel, --target)."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

_SINCE = "{what} came with Linux {since}; this is for {target}"

ENTRIES = (
    Entry(
        "V1901",
        Rule.NEWER_INSTRUCTION,
        "the kernel does not know the instruction",
        (_SINCE,),
        why=("the compiler used a newer instruction set than this kernel's",),
        help="compile for an older one: skep build --target-cpu {cpu}",
    ),
    Entry(
        "V1902",
        Rule.NEWER_HELPER,
        "the kernel does not have the helper",
        (_SINCE,),
        why=("code that is dead for sure is not looked at: a CO-RE question can guard the call",),
        help="guard it:  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_{short_name})) ... else ...",
    ),
    Entry(
        "V1903",
        Rule.NEWER_HELPER_TYPE,
        "the kernel does not offer the helper to programs of this type",
        ("{helper}() may be called by {prog_type} programs since Linux {since}; this is for {target}",),
        why=("the kernel has the helper, but only for other program types",),
        help="do without it here, or find out in a program of another type and leave the answer in a map",
    ),
    Entry(
        "V1904",
        Rule.NEWER_KFUNC,
        "the kernel does not have the kernel function, or not for programs of this type",
        (_SINCE,),
        why=("kernel functions are no stable interface: they come and go",),
        help="declare it `__weak __ksym` and ask:  if (bpf_ksym_exists({kfunc})) ... else ...",
    ),
    Entry(
        "V1905",
        Rule.NEWER_PROGRAM,
        "the kernel does not have this kind of program or attachment",
        (_SINCE,),
        help="attach elsewhere (kprobe instead of fentry, tc instead of tcx), or ask for Linux {since} or newer",
    ),
    Entry(
        "V1906",
        Rule.NEWER_MAP,
        "the kernel does not have this kind of map",
        (_SINCE,),
        help="use an older kind (perf_event_array for ringbuf, hash for local storage), or ask for Linux {since}",
    ),
    Entry(
        "V1907",
        Rule.NEWER_FEATURE,
        "the kernel's verifier does not know a feature that the program uses",
        ("{what}: since Linux {since}; this is for {target}",),
        help="do without, or ask for Linux {since} or newer",
    ),
    Entry(
        "V1908",
        Rule.NEWER_SIZE,
        "the program is too large for the kernel",
        ("{what}: the limit of {target} is {limit}",),
        why=("Linux 5.2 raised both limits to 1,000,000",),
        help="split it with tail calls, or ask for Linux {since} or newer",
    ),
    Entry(
        "V1909",
        Rule.NEWER_FIELD,
        "the kernel's context has no such field",
        (_SINCE,),
        help="do without the field, or ask for Linux {since} or newer",
    ),
)
