"""The vm around an interpreted program: its maps, its packet, its helpers. What goes into a helper is checked first."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from skep.abi.contexts import Context, FieldKind
from skep.abi.helpers import HELPERS, signature_for
from skep.abi.map_types import MapType
from skep.abi.signatures import Arg, ArgKind, MemoryUse, ReturnKind, Signature
from skep.isa.arithmetic import MASK64, signed
from skep.jit.native import Lowering, Native, Returns
from skep.model.programs import LinkedProgram
from skep.vm.helpers.kfuncs import KFUNCS
from skep.vm.helpers.table import LOAD_PACKET, VALUE_OFFSET, find_native
from skep.vm.interpreter.dynptrs import Dynptrs
from skep.vm.interpreter.iterators import Iterators
from skep.vm.interpreter.machine import Interpreter, TailCall
from skep.vm.interpreter.memory import Fault, Memory
from skep.vm.runtime import Run, runtime

MAX_LOOPS, E2BIG, EINVAL = 1 << 23, 7, 22
_HEADER = struct.Struct("<QIIIIII")  # struct skep_map: magic, version, type, key_size, value_size, max_entries, flags
_RECORD = "ring record"
_READ_ONLY, _WRITE_ONLY = 1 << 7, 1 << 8  # BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG
_VALUES = (ReturnKind.MAP_VALUE_OR_NULL, ReturnKind.MAP_VALUE)
_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What a map's header says."""

    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class VmHost:
    """One program's surroundings during one run. ``maps`` are addresses of map headers by name."""

    def __init__(self, program: LinkedProgram, maps: Mapping[str, int], run: Run) -> None:
        self.program = program
        self.memory = Memory()
        self._dynptrs = Dynptrs(self.memory)
        self._iterators = Iterators(self.memory)
        self._maps = maps
        self._known_maps = set(maps.values())
        self._run = run

    def allow_context(self, rules: Context) -> None:
        """The context is the kernel's structure for this type of program."""
        if self._run.ctx:
            self.memory.allow(self._run.ctx, rules.size, "context")

    def map_address(self, name: str) -> int:
        return self._maps[name]

    def map_value_address(self, name: str) -> int:
        address, facts = self._maps[name] + VALUE_OFFSET, read_map(self._maps[name])
        self._allow_value(address, facts, f"map {name}", frozen=self.program.maps[name].frozen)
        return address

    def context_pointer(self, kind: FieldKind) -> int:
        self._see_packet()
        run = self._run
        places = {
            FieldKind.PACKET: run.data,
            FieldKind.PACKET_END: run.data_end,
            FieldKind.PACKET_META: run.data_meta,
        }
        if kind not in places:
            raise Fault(f"the vm has no {kind.value} in a context")
        return places[kind] or 0

    @property
    def packet_start(self) -> int:
        """Where the packet's first byte lies now; 0: there is no packet."""
        return self._run.data or 0

    def legacy_load(self, offset: int, size: int) -> int | None:
        value = _native_call(LOAD_PACKET, {"run": ctypes.addressof(self._run), "r1": offset & MASK64, "r2": size})
        return None if signed(value) < 0 else value

    def arguments(self, helper: int) -> int:
        return len(self._signature(helper).args or ())

    def returns_value(self, helper: int) -> bool:
        return self._signature(helper).returns is not ReturnKind.VOID

    def _signature(self, helper: int) -> Signature:
        signature = signature_for(helper, self.program.prog_type) or HELPERS.get(helper)
        if signature is None:
            raise Fault(f"there is no helper {helper}")
        return signature

    def call(self, machine: Interpreter, helper: int, args: list[int]) -> int:
        signature = self._signature(helper)
        facts, address = self._map_of(signature, args)
        native = find_native(helper, facts.type if facts else None)
        if native is None:
            raise Fault(f"the vm has no {signature.name}")
        self._check_arguments(signature, args, facts)
        if native.lowering is Lowering.INLINE_LOOP:
            return self._loop(machine, args)
        if native.lowering is Lowering.TAIL_CALL:
            return self._tail_call(native, address, args)
        values = {"run": ctypes.addressof(self._run), "ctx": self._run.ctx or 0, "map": address}
        if facts is not None:
            values |= {"key_size": facts.key_size, "value_size": facts.value_size}
            values |= {"max_entries": facts.max_entries, "map_flags": facts.flags}
        for number, value in enumerate(args, 1):
            values[f"r{number}"] = values[f"p{number}"] = value
        keep = None
        if native.lowering is Lowering.CALLBACK:
            keep, values["p2"] = self._callback(machine, args[1], facts)
        result = _native_call(native, values)
        if keep is not None and keep.failure is not None:
            raise keep.failure
        self._allow_result(signature, args, result, facts)
        self._dynptrs.follow(signature, args, result)
        self._see_packet()
        return result

    def kfunc(self, name: str) -> tuple[int, bool]:
        native = KFUNCS.get(name)
        if native is None:
            raise Fault(f"the vm has no {name}")
        return len(native.params), native.returns is not Returns.VOID

    def call_kfunc(self, name: str, args: list[int]) -> int:
        self._iterators.check(name, args[0])
        values = {f"{kind}{number}": value for number, value in enumerate(args, 1) for kind in "rp"}
        result = _native_call(KFUNCS[name], values)
        self._iterators.follow(name, args[0])
        return result

    # ---- memory that helpers read, write and give ----

    def _map_of(self, signature: Signature, args: list[int]) -> tuple[MapFacts | None, int]:
        for number, arg in enumerate(signature.args or ()):
            if arg.kind is ArgKind.CONST_MAP:
                if args[number] not in self._known_maps:
                    raise Fault(f"{signature.name}, argument {number + 1}: {args[number]:#x} is no map")
                return read_map(args[number]), args[number]
        return None, 0

    def _check_arguments(self, signature: Signature, args: list[int], facts: MapFacts | None) -> None:
        declared = signature.args or ()
        for number, arg in enumerate(declared):
            value, why = args[number], f"{signature.name}, argument {number + 1}"
            if arg.kind is ArgKind.CONTEXT and value != (self._run.ctx or 0):
                raise Fault(f"{why}: {value:#x} is not the context")
            if arg.kind is ArgKind.DYNPTR:
                self._dynptrs.check(arg, value, why)
            if arg.kind is ArgKind.RINGBUF_RECORD and not self.memory.starts(_RECORD, value):
                raise Fault(f"{why}: {value:#x} is not the start of a record")
            following = declared[number + 1] if number + 1 < len(declared) else None
            size = self._size_of(arg, args, number, following, facts)
            if size and not (arg.nullable and value == 0):
                writes, reads = arg.use is not MemoryUse.READ, arg.use is not MemoryUse.WRITE
                if writes:
                    self.memory.check(value, size, write=True, why=why)
                if reads:
                    self.memory.check(value, size, write=False, why=why)

    def _size_of(self, arg: Arg, args: list[int], number: int, following: Arg | None, facts: MapFacts | None) -> int:
        """Bytes of memory this argument points to; 0: it is no memory, or its size cannot be told here."""
        if arg.kind is ArgKind.MAP_KEY:
            return facts.key_size if facts else 0
        if arg.kind is ArgKind.MAP_VALUE:
            return facts.value_size if facts else 0
        if arg.kind is ArgKind.MEMORY:
            if arg.size is not None:
                return arg.size
            if following is not None and following.kind in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO):
                return args[number + 1] & 0xFFFFFFFF
        return {ArgKind.FIXED_INT: 4, ArgKind.FIXED_LONG: 8, ArgKind.SPIN_LOCK: 4}.get(arg.kind, 0)

    def _allow_result(self, signature: Signature, args: list[int], result: int, facts: MapFacts | None) -> None:
        if signature.releases is not None:
            self.memory.forget(_RECORD, args[signature.releases - 1])
        if not result:
            return
        if signature.returns is ReturnKind.RINGBUF_RECORD_OR_NULL:
            self.memory.allow(result, args[1], _RECORD)
        elif facts is not None and signature.returns in _VALUES:
            if facts.type in _OF_MAPS:
                self._known_maps.add(result)
            else:
                self._allow_value(result, facts, "map value")

    def _allow_value(self, address: int, facts: MapFacts, name: str, *, frozen: bool = False) -> None:
        writable, readable = not (frozen or facts.flags & _READ_ONLY), not facts.flags & _WRITE_ONLY
        self.memory.allow(address, facts.value_size, name, writable=writable, readable=readable)

    def _see_packet(self) -> None:
        """The packet's bytes as they lie now; helpers move them."""
        self.memory.forget("packet")
        start, end = self._run.data_meta or self._run.data, self._run.data_end
        if start and end and end > start:
            self.memory.allow(start, end - start, "packet")

    # ---- helpers that call the program back ----

    def _loop(self, machine: Interpreter, args: list[int]) -> int:
        count, callback, context, flags = args[0] & 0xFFFFFFFF, args[1], args[2], args[3]
        if flags:
            return -EINVAL & MASK64
        if count > MAX_LOOPS:
            return -E2BIG & MASK64
        for turn in range(count):
            if machine.call_back(callback, [turn, context, 0, 0, 0]):
                return turn + 1
        return count

    def _callback(self, machine: Interpreter, slot: int, facts: MapFacts | None) -> tuple[_Callback, int]:
        def body(arguments: list[int]) -> int:
            if facts is not None and facts.type is MapType.USER_RINGBUF:
                self._dynptrs.lend(arguments[0])
                try:
                    return machine.call_back(slot, arguments)
                finally:
                    self._dynptrs.take_back(arguments[0])
            if facts is not None:  # bpf_for_each_map_elem gives key and value
                self.memory.allow(arguments[1], facts.key_size, "map key", writable=False)
                self._allow_value(arguments[2], facts, "map value")
            return machine.call_back(slot, arguments)

        callback = _Callback(body)
        return callback, callback.address

    def _tail_call(self, native: Native, address: int, args: list[int]) -> int:
        """Leave for the target; where there is none, go on (r0 is not defined then, as in the kernel)."""
        values = {"run": ctypes.addressof(self._run), "map": address, "r3": args[2]}
        target = _native_call(native, values | {"max_entries": read_map(address).max_entries})
        if target:
            raise TailCall(partial(_enter, target, ctypes.addressof(self._run)))
        return 0


def _enter(target: int, run: int, context: int) -> int:
    """Call a program, native or interpreted, by its address; a failure of an interpreted one goes on from here."""
    result = int(_PROGRAM(target)(run, context)) & MASK64
    raise_failure()
    return result


_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
_waiting = threading.local()


def keep_failure(error: BaseException) -> None:
    """Remember what cannot pass through C, for :func:`raise_failure` in the same thread."""
    _waiting.failure = error


def has_failed() -> bool:
    """Whether a failure waits in this thread."""
    return getattr(_waiting, "failure", None) is not None


def raise_failure() -> None:
    """Raise the failure that waits in this thread, if any."""
    failure, _waiting.failure = getattr(_waiting, "failure", None), None
    if failure is not None:
        raise failure


class _Callback:
    """A subprogram as a C function. ctypes cannot carry an exception through C: it waits in ``failure``."""

    _TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_uint64] * 5)

    def __init__(self, body: Callable[[list[int]], int]) -> None:
        self.failure: BaseException | None = None

        def call(_run: int | None, *arguments: int) -> int:
            try:
                return signed(body(list(arguments)))
            except BaseException as error:
                self.failure = error
                return 1  # stops the walk

        self._function = self._TYPE(call)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value or 0


def read_map(address: int) -> MapFacts:
    """The facts in a map's header."""
    header = _HEADER.unpack(ctypes.string_at(address, _HEADER.size))
    _, _, map_type, key_size, value_size, max_entries, flags = header
    return MapFacts(MapType(map_type), key_size, value_size, max_entries, flags)


def _native_call(native: Native, values: Mapping[str, int]) -> int:
    """Call a row's C function: numbers in, an unsigned number out."""
    result = runtime().functions[native.symbol](*(values[token] for token in native.params))
    return (result or 0) & MASK64
