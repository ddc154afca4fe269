"""skep: the eBPF system for Python.

::

    import skep

    spec = skep.compile("firewall.bpf.c")
    with skep.load(spec) as firewall:
        run = firewall.programs["firewall"].attach(skep.hooks.Pcap("in.pcap", out="passed.pcap")).run()
        print(run.verdicts, dict(firewall.maps["dropped"]))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skep.api import compile, compile_filter, host_btf, load, open_object
    from skep.collection import Link, Map, Object, Program, Variable
    from skep.diagnostics import Diagnostic, SourceFile, Span
    from skep.errors import SkepError
    from skep.model import hooks

__version__ = "0.1.0"

__all__ = [
    "Diagnostic",
    "Link",
    "Map",
    "Object",
    "Program",
    "SkepError",
    "SourceFile",
    "Span",
    "Variable",
    "compile",
    "compile_filter",
    "hooks",
    "host_btf",
    "load",
    "open_object",
]

# Rooms are entered when they are first used: `import skep.isa` must not start LLVM.
_HOMES = {
    "Diagnostic": "skep.diagnostics",
    "Link": "skep.collection",
    "Map": "skep.collection",
    "Object": "skep.collection",
    "Program": "skep.collection",
    "SkepError": "skep.errors",
    "SourceFile": "skep.diagnostics",
    "Span": "skep.diagnostics",
    "Variable": "skep.collection",
    "compile": "skep.api",
    "compile_filter": "skep.api",
    "host_btf": "skep.api",
    "load": "skep.api",
    "open_object": "skep.api",
}


def __getattr__(name: str) -> Any:
    if name == "hooks":
        return import_module("skep.model.hooks")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'skep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
