"""Names in a bpffs: pin, unpin, open; errors that say what is wrong with the place."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.bpf import objects
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.kernel.refusals import errno_name

BPFFS: Final = Path("/sys/fs/bpf")
_MAGIC: Final = 0xCAFE4A11  # BPF_FS_MAGIC
_STATFS_BYTES: Final = 256


def is_bpffs(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder lies in a bpffs."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(folder), buffer) != 0:
        return False
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], "little") & 0xFFFFFFFF == _MAGIC


def mount_bpffs(folder: str | os.PathLike[str] = BPFFS) -> None:
    """Mount a bpffs on a folder (needs CAP_SYS_ADMIN); nothing where there is one already.

    Raises:
        EngineError: E0232.
    """
    if is_bpffs(folder):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(folder), b"bpf", 0, b"mode=0700") != 0:
        number = ctypes.get_errno()
        what = f"a bpffs cannot be mounted on {folder}: {os.strerror(number)}"
        raise EngineError(
            Diagnostic(
                "E0232", what, help="mount it as root: mount -t bpf bpf " + str(folder), kernel=errno_name(number)
            )
        )


def pin(fd: Fd, path: str | os.PathLike[str], what: str) -> None:
    """BPF_OBJ_PIN.

    Raises:
        EngineError: E0230 the path is no place for a pin, E0231 there is something already.
    """
    try:
        objects.pin(fd.number, path)
    except BpfCallError as error:
        raise _refused(error, path, f"{what} cannot be pinned to {os.fspath(path)}") from None


def open_pin(path: str | os.PathLike[str], what: str = "pinned object", flags: int = 0) -> Fd:
    """BPF_OBJ_GET.

    Raises:
        EngineError: E0230.
    """
    try:
        return objects.get(path, flags, what)
    except BpfCallError as error:
        raise _refused(error, path, f"{os.fspath(path)} cannot be opened") from None


def unpin(path: str | os.PathLike[str]) -> None:
    """Remove the name; the object goes with its last user.

    Raises:
        EngineError: E0230.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        what = f"the pin {os.fspath(path)} cannot be removed: {error.strerror}"
        raise EngineError(Diagnostic("E0230", what, help="is it yours, and a file?")) from None


def _refused(error: BpfCallError, path: str | os.PathLike[str], what: str) -> EngineError:
    number, name = error.number, errno_name(error.number)
    folder = Path(path).parent
    if number == errno.EEXIST:
        return EngineError(
            Diagnostic("E0231", f"{what}: there is something already", help="remove it first, or choose another name",
                       kernel=name)
        )  # fmt: skip
    if number == errno.ENOENT:
        missing = folder if not folder.exists() else path
        return EngineError(
            Diagnostic("E0230", f"{what}: {missing} does not exist", help="make the folder", kernel=name)
        )
    if number in (errno.EPERM, errno.EINVAL, errno.EACCES) and not is_bpffs(folder):
        advice = f"mount one: mount -t bpf bpf {BPFFS}  (or let skep do it: --mount-bpffs)"
        return EngineError(
            Diagnostic("E0230", f"{what}: {folder} is not in a bpffs", why=("pins live in a bpffs only",), help=advice,
                       kernel=name)
        )  # fmt: skip
    if number == errno.EPERM and "." in Path(path).name:
        why = ("the kernel keeps names with a dot for itself",)
        return EngineError(Diagnostic("E0230", what, why=why, help="choose a name without a dot", kernel=name))
    return EngineError(Diagnostic("E0230", what, why=(os.strerror(number),), help="look at the path", kernel=name))
