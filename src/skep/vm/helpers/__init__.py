"""Helpers of the vm: which C function a call becomes (table), which are refused and why (refused)."""

from skep.jit.unit import Rows
from skep.vm.helpers.kfuncs import KFUNCS
from skep.vm.helpers.refused import REFUSED
from skep.vm.helpers.table import CONTEXT, FIELDS, LOAD_PACKET, NATIVES, VALUE_OFFSET, find_native

#: All tables, as the JIT takes them.
ROWS = Rows(NATIVES, FIELDS, LOAD_PACKET, CONTEXT, VALUE_OFFSET, KFUNCS)

__all__ = ["REFUSED", "ROWS", "find_native"]
