"""Facts that the running Linux tells about itself, for a Target. What it does not tell is left out, never guessed."""

from __future__ import annotations

import gzip
import os
import platform
import re
from pathlib import Path

_BTF_FOLDER = Path("/sys/kernel/btf")
_KALLSYMS = Path("/proc/kallsyms")
_POSSIBLE = Path("/sys/devices/system/cpu/possible")
#: Where a kernel's types are when /sys/kernel/btf/vmlinux is missing, in bpftool's order.
_BTF_FILES = (
    "/sys/kernel/btf/vmlinux",
    "/boot/vmlinux-{release}",
    "/lib/modules/{release}/vmlinux-{release}",
    "/lib/modules/{release}/build/vmlinux",
    "/usr/lib/modules/{release}/kernel/vmlinux",
    "/usr/lib/debug/boot/vmlinux-{release}",
    "/usr/lib/debug/boot/vmlinux-{release}.debug",
    "/usr/lib/debug/lib/modules/{release}/vmlinux",
)
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")

#: Capabilities by bit (uapi linux/capability.h), those that bpf(2) asks for.
CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 34: "CAP_SYSLOG", 38: "CAP_PERFMON", 39: "CAP_BPF"}


def read_btf() -> bytes | None:
    """The kernel's own type information; None where there is none (not Linux, no CONFIG_DEBUG_INFO_BTF)."""
    try:
        return (_BTF_FOLDER / "vmlinux").read_bytes()
    except OSError:
        return None


def btf_files() -> list[Path]:
    """Files that may hold this kernel's types, the running kernel's own first; some are ELF files."""
    return [Path(name.format(release=platform.release())) for name in _BTF_FILES]


def modules_with_btf() -> list[str]:
    """Names of the loaded modules that have type information (Linux 5.11)."""
    try:
        return sorted(path.name for path in _BTF_FOLDER.iterdir() if path.name != "vmlinux")
    except OSError:
        return []


def read_module_btf(name: str) -> bytes | None:
    """A module's type information, which continues the kernel's."""
    try:
        return (_BTF_FOLDER / name).read_bytes()
    except OSError:
        return None


def read_kconfig() -> dict[str, str]:
    """``CONFIG_X`` -> value as the kernel was built with; empty where neither /proc nor /boot tells."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        try:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
        return {name: value.strip() for name, value in pairs}
    return {}


def read_kallsyms() -> dict[str, int]:
    """Addresses of kernel symbols; all 0 for who lacks CAP_SYSLOG, which leaves nothing."""
    try:
        lines = _KALLSYMS.read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split(None, 3) for line in lines)
    return {words[2]: int(words[0], 16) for words in fields if len(words) >= 3 and int(words[0], 16)}


def kernel_version() -> tuple[int, int, int]:
    """The running kernel's version, the true one where a distribution's release name hides it (0, 0, 0: not Linux).

    Debian's release says 6.1.0 for every 6.1.x and Ubuntu's 5.15.0: the patch level is elsewhere (libbpf's
    get_kernel_version() looks at the same places). The kernel's own check of kern_version wants the true one.
    """
    if platform.system() != "Linux":
        return (0, 0, 0)
    try:
        ubuntu = Path("/proc/version_signature").read_text().split()[-1]
    except (OSError, IndexError):
        ubuntu = ""
    system = os.uname()
    debian = system.version.partition("Debian ")[2]
    for text in (ubuntu, debian, system.release):
        found = _VERSION.match(text)
        if found:
            return int(found[1]), int(found[2]), int(found[3] or 0)
    return (0, 0, 0)


def possible_cpus() -> int:
    """How many values a per-CPU map has: CPUs that may ever come online."""
    try:
        text = _POSSIBLE.read_text().strip()
    except OSError:
        return os.cpu_count() or 1
    return int(re.split(r"[-,]", text)[-1]) + 1


def capabilities() -> frozenset[str]:
    """The effective capabilities of this process, as far as bpf(2) asks for them."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    bits = int(found[1], 16) if found else 0
    return frozenset(name for bit, name in CAPABILITIES.items() if bits >> bit & 1)


def read_setting(name: str) -> str | None:
    """A value of /proc/sys, e.g. ``kernel/unprivileged_bpf_disabled``; None: not there."""
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return None
