"""Facts that the running Linux tells about itself, for a Target. What it does not tell is left out, never guessed."""

from __future__ import annotations

import gzip
import platform
from pathlib import Path

_BTF = Path("/sys/kernel/btf/vmlinux")
_KALLSYMS = Path("/proc/kallsyms")


def read_btf() -> bytes | None:
    """The kernel's own type information; None where there is none (not Linux, no CONFIG_DEBUG_INFO_BTF)."""
    try:
        return _BTF.read_bytes()
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
