"""What linker and verifier may know of the vm: the rules of one kernel, without that kernel's hardware or host."""

from __future__ import annotations

import sys

from skep.model.target import Target
from skep.vm.helpers.kfuncs import TYPES
from skep.vm.helpers.refused import REFUSED
from skep.vm.maps.rules import RULES

#: The kernel whose rules the vm follows, and whose verdicts the verifier is tested against.
KERNEL_VERSION = (6, 18, 0)


def vm_target() -> Target:
    """The Target of the vm engine in this process. Its types are those of its own functions, for programs that name
    them; it has no kernel's, so CO-RE relocations find nothing to fit.
    """
    return Target(
        name="vm",
        kernel_version=KERNEL_VERSION,
        byte_order=sys.byteorder,
        refused_helpers=REFUSED,
        map_types=frozenset(RULES),
        module_btf={"skep": TYPES},
    )
