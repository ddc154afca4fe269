"""The kinds of proof obligations, the rules they can break, and the violation that says so.

A :class:`Requirement` says what an instruction needs; ``prove`` looks whether a state gives it and answers None or a
:class:`Violation`. Messages, slices and tests read these objects; nobody parses text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from skep.abi.signatures import Arg


class Use(StrEnum):
    """What is done with memory."""

    READ = "read"
    WRITE = "write"
    ATOMIC = "atomic"  # read, change and write
    ATOMIC_LOAD = "load_acquire"
    ATOMIC_STORE = "store_release"


class Event(StrEnum):
    """Places where nothing acquired may be left open."""

    EXIT = "exit"
    TAIL_CALL = "tail_call"
    LEGACY_LOAD = "ld_abs"
    THROW = "throw"


class Rule(StrEnum):
    """What went wrong: one row of the catalogue of messages each (explain/rules)."""

    # Registers and arithmetic
    UNINITIALISED = "uninitialised"  # reg
    POINTER_MATH_32 = "pointer_math_32"  # reg, pointer: 32-bit arithmetic on a pointer
    POINTER_MATH_OPERATOR = "pointer_math_operator"  # reg, pointer, operator: *=, &=, ... on a pointer
    POINTER_MATH_PAIR = "pointer_math_pair"  # reg, pointer, operator: pointer op pointer
    POINTER_MATH_FORBIDDEN = "pointer_math_forbidden"  # reg, pointer: this kind of pointer cannot be moved
    POINTER_MATH_NULLABLE = "pointer_math_nullable"  # reg, pointer: moved before the check for NULL
    POINTER_MATH_UNBOUNDED = "pointer_math_unbounded"  # reg, pointer, value
    POINTER_MATH_RANGE = "pointer_math_range"  # reg, pointer, value: leaves +-2^29
    POINTER_SUBTRACT = "pointer_subtract"  # reg: scalar - pointer, or subtraction from the stack pointer
    POINTER_BYTESWAP = "pointer_byteswap"  # reg, pointer: negation or byte swap of a pointer
    POINTER_PARTIAL_COPY = "pointer_partial_copy"  # reg, pointer: 32-bit or sign-extending move of a pointer
    POINTER_COMPARE = "pointer_compare"  # reg, pointer: comparison that leaks or means nothing
    ARENA_CAST = "arena_cast"  # reason: addr_space_cast where there is no arena
    POINTER_LEAK = "pointer_leak"  # reg, pointer, where (unprivileged)
    SPECULATIVE_BOUNDS = "speculative_bounds"  # reg, pointer, reason: moved out of its memory (unprivileged)
    SPECULATIVE_MATH = "speculative_math"  # reg, pointer, reason: moved as no mask can follow (unprivileged)
    # Memory
    NOT_A_POINTER = "not_a_pointer"  # reg, pointer: access through a scalar, or a pointer kind that has no memory
    POINTER_ENDED = "pointer_ended"  # as NOT_A_POINTER, where the path shows a call that ended it
    NULLABLE = "nullable"  # reg, pointer, map
    CONTEXT_ACCESS = "context_access"  # offset, size, use: no such field, or not in this way
    CONTEXT_MODIFIED = "context_modified"  # reg, offset: access through a moved context pointer
    STACK_BOUNDS = "stack_bounds"  # reg, offset, size, use
    STACK_ALIGNMENT = "stack_alignment"  # reg, offset, size
    STACK_UNBOUNDED = "stack_unbounded"  # reg, use: variable offset without limits
    STACK_UNINITIALISED = "stack_uninitialised"  # reg, offset, size
    STACK_SPILL_SIZE = "stack_spill_size"  # reg, size: a pointer spilled or filled in parts
    POINTER_TORN = (
        "pointer_torn"  # reg, pointer, offset, size: a part of a spilled pointer is overwritten (unprivileged)
    )
    STACK_OBJECT = "stack_object"  # reg, offset, size, object: an iterator, dynptr or saved flags read as plain bytes
    # Dynptrs
    DYNPTR_PLACE = "dynptr_place"  # reg, pointer, offset, reason: no dynptr can be made there
    DYNPTR_UNINITIALISED = "dynptr_uninitialised"  # reg, pointer, argument
    DYNPTR_LOST = "dynptr_lost"  # reg, offset: one that must be given back is overwritten
    DYNPTR_OVERWRITTEN = "dynptr_overwritten"  # reg, offset, size: by a helper
    DYNPTR_MEMORY = "dynptr_memory"  # reg, pointer: made of something but a map's value
    PACKET_BOUNDS = "packet_bounds"  # reg, offset, size, range
    PACKET_READ_ONLY = "packet_read_only"  # reg
    MAP_VALUE_BOUNDS = "map_value_bounds"  # reg, offset, size, value_size, which (below, above)
    MAP_READ_ONLY = "map_read_only"  # map, use
    MAP_UNREADABLE = "map_unreadable"  # map, use
    MAP_SPECIAL_FIELD = "map_special_field"  # map, field: spin locks, timers, ... touched directly
    MEMORY_BOUNDS = "memory_bounds"  # reg, offset, size, memory_size
    MEMORY_READ_ONLY = "memory_read_only"  # reg, pointer
    NEGATIVE_OFFSET = "negative_offset"  # reg
    UNBOUNDED_OFFSET = "unbounded_offset"  # reg
    MISALIGNED = "misaligned"  # reg, offset, size
    ATOMIC_REGION = "atomic_region"  # reg, pointer
    ARENA_SIGN_EXTENSION = "arena_sign_extension"  # reg
    # Kernel objects
    CONTEXT_ARGUMENT = "context_argument"  # offset, size, use, reason: no such argument of what it attaches to
    OBJECT_ACCESS = "object_access"  # reg, struct, offset, size, reason
    OBJECT_READ_ONLY = "object_read_only"  # reg, struct, offset
    OBJECT_REGION = "object_region"  # reg, struct, region: user or per-CPU memory used directly
    OBJECT_OFFSET = "object_offset"  # reg, struct, offset: negative or variable
    OBJECT_LICENSE = "object_license"  # struct
    OBJECT_TYPE = "object_type"  # reg, expected, struct, function
    OBJECT_TRUST = "object_trust"  # reg, function, pointer, wanted
    BUFFER_OFFSET = "buffer_offset"  # reg, offset: negative or variable
    KERNEL_VARIABLE = "kernel_variable"  # name
    KFUNC_UNKNOWN = "kfunc_unknown"  # kfunc
    KFUNC_PROG_TYPE = "kfunc_prog_type"  # kfunc, prog_type
    KFUNC_SLEEPS = "kfunc_sleeps"  # kfunc
    KFUNC_ARGUMENT = "kfunc_argument"  # reg, kfunc, expected, pointer
    ITERATOR_PHASE = "iterator_phase"  # reg, kfunc, iterator, wanted (new, initialised)
    IRQ_ORDER = "irq_order"  # reg, kfunc, reason
    SECTION_UNMATCHED = "section_unmatched"  # kfunc, section: closed without being open, or opened twice
    SECTION_SLEEPS = "section_sleeps"  # function, section: something that may sleep where nothing may
    SECTION_OPEN = "section_open"  # event, section
    SECTION_NEEDED = "section_needed"  # kfunc: only under the RCU read lock
    EXCEPTION = "exception"  # reason
    # Pointers to objects in maps, allocated objects, lists and trees
    KPTR_ACCESS = "kptr_access"  # reg, field, offset, reason: a pointer field is read or written in the wrong way
    KPTR_TYPE = "kptr_type"  # reg, field, pointer, struct, expected: a pointer field cannot keep this pointer
    KPTR_FIELD = "kptr_field"  # reg, helper, pointer, reason: no field whose object can be exchanged
    ALLOCATION = "allocation"  # reg, kfunc, reason: no type that can be allocated
    ALLOCATED_FIELD = "allocated_field"  # reg, struct, field: a special field of an allocated object is touched
    ALLOCATED_ARGUMENT = "allocated_argument"  # reg, kfunc, expected, pointer: not the allocated object it must be
    GRAPH_ROOT = "graph_root"  # reg, kfunc, root, reason: no list or tree there
    GRAPH_NODE = "graph_node"  # reg, kfunc, root, reason: no node that the list or tree can hold
    GRAPH_UNLOCKED = "graph_unlocked"  # reg, kfunc, root: the lock beside it is not held
    GRAPH_CALLBACK = "graph_callback"  # kfunc: not in a function that compares nodes
    # Locks, timers, work
    FIELD_ARGUMENT = "field_argument"  # reg, field, map, reason: not the lock, timer, ... of its value
    FIELD_PROGRAM = "field_program"  # field, map, prog_type: programs of this type must not use such maps
    FIELD_MAP = "field_map"  # reg, field, map: the timer or work lies in another map
    LOCK_ORDER = "lock_order"  # reason, acquired_at: taken twice, released without being held, ...
    LOCK_HELD = "lock_held"  # function, acquired_at: it must not be called while a lock is held
    # Calls
    HELPER_UNKNOWN = "helper_unknown"  # helper
    HELPER_PROG_TYPE = "helper_prog_type"  # helper, prog_type
    HELPER_REFUSED = "helper_refused"  # helper, reason, engine
    HELPER_GPL = "helper_gpl"  # helper
    HELPER_CAPABILITY = "helper_capability"  # helper (unprivileged)
    HELPER_SLEEPS = "helper_sleeps"  # helper
    HELPER_MAP = "helper_map"  # helper, map, map_type
    ARGUMENT_KIND = "argument_kind"  # reg, helper, expected, pointer
    ARGUMENT_NULL = "argument_null"  # reg, helper, pointer: may be NULL
    ARGUMENT_CONSTANT = "argument_constant"  # reg, helper
    ARGUMENT_SIZE = "argument_size"  # reg, helper, which (negative, zero, unbounded)
    ARGUMENT_OFFSET = "argument_offset"  # reg, helper
    ARGUMENT_STRING = "argument_string"  # reg, helper
    ARGUMENT_VALUE = "argument_value"  # reg, helper: a number outside what the helper takes
    ARGUMENT_REGION = "argument_region"  # reg, helper, pointer: memory this helper must not touch
    RELEASE_UNOWNED = "release_unowned"  # reg, helper
    SUBPROGRAM_ARGUMENTS = "subprogram_arguments"  # reg, function, expected
    SUBPROGRAM_SIGNATURE = "subprogram_signature"  # function, reason
    CALLBACK_KIND = "callback_kind"  # reg, function
    CALL_DEPTH = "call_depth"  # frames
    STACK_DEPTH = "stack_depth"  # depth, frames
    TAIL_CALL = "tail_call"  # reason: tail calls where they cannot be
    SLEEPABLE_MAP = "sleepable_map"  # map, map_type
    # Leaving
    REFERENCE_LEAK = "reference_leak"  # event, acquired_at
    RETURN_UNINITIALISED = "return_uninitialised"
    RETURN_KIND = "return_kind"  # pointer: must be a number
    RETURN_RANGE = "return_range"  # low, high, known_low, known_high, where (program, callback)
    STACK_ESCAPE = "stack_escape"  # a pointer to a frame that ends or that is not the caller's
    # Flow
    INFINITE_LOOP = "infinite_loop"
    TOO_COMPLEX = "too_complex"  # insns
    TOO_MANY_BRANCHES = "too_many_branches"  # states
    DIVISION_BY_ZERO = "division_by_zero"
    SHIFT_AMOUNT = "shift_amount"  # amount
    POISONED = "poisoned"  # reason: a CO-RE relocation the target cannot satisfy
    UNKNOWN_OPCODE = "unknown_opcode"  # opcode
    MIXED_POINTERS = "mixed_pointers"  # one instruction, different kinds of memory on different paths
    LEGACY_LOAD = "legacy_load"  # reason
    EXTENSION = "extension"  # function, reason: it cannot replace the function
    PROGRAM_CAPABILITY = "program_capability"  # prog_type (unprivileged)
    PROGRAM = "program"  # reason: the program as a whole cannot be loaded
    # Older kernels (since/): what, since
    NEWER_INSTRUCTION = "newer_instruction"  # instruction
    NEWER_HELPER = "newer_helper"  # helper
    NEWER_HELPER_TYPE = "newer_helper_type"  # helper
    NEWER_KFUNC = "newer_kfunc"  # kfunc
    NEWER_PROGRAM = "newer_program"
    NEWER_MAP = "newer_map"  # map
    NEWER_FEATURE = "newer_feature"  # feature
    NEWER_SIZE = "newer_size"  # insns, limit
    NEWER_FIELD = "newer_field"  # field: of the context
    # Not ours yet
    UNSUPPORTED = "unsupported"  # feature, instead


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that must hold before an instruction runs."""


@dataclass(frozen=True, slots=True)
class Initialised(Requirement):
    """The register was written on every path (kernel: check_reg_arg)."""

    reg: int


@dataclass(frozen=True, slots=True)
class ValidArithmetic(Requirement):
    """``dst = dst OP src`` is allowed where a pointer takes part (kernel: adjust_ptr_min_max_vals).

    ``src`` is None for an immediate, ``width`` in bits.
    """

    code: int
    dst: int
    src: int | None
    imm: int
    width: int


@dataclass(frozen=True, slots=True)
class ValidMove(Requirement):
    """A pointer is copied whole: not in 32 bits, not sign-extended, not swapped."""

    reg: int
    how: str


@dataclass(frozen=True, slots=True)
class ValidComparison(Requirement):
    """The comparison reveals nothing that it must not (kernel: check_cond_jmp_op)."""

    code: int
    dst: int
    src: int | None
    imm: int
    width: int


@dataclass(frozen=True, slots=True)
class ValidAccess(Requirement):
    """``size`` bytes at ``reg + offset`` may be used in this way (kernel: check_mem_access).

    ``value`` is the register that is stored, None for loads and stores of an immediate, which is ``imm``; ``operation``
    says what an atomic does, ``overwrites`` that it fetches into ``reg`` itself.
    """

    reg: int
    offset: int
    size: int
    use: Use
    value: int | None = None
    sign_extended: bool = False
    operation: int = 0
    imm: int = 0
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class ValidMapValue(Requirement):
    """The address ``offset`` bytes into the first value of the map can be taken (kernel: map_direct_value_addr)."""

    map: str
    offset: int


@dataclass(frozen=True, slots=True)
class HelperAvailable(Requirement):
    """This program may call the helper: type, licence, sleepability, and the engine has it."""

    helper: int


@dataclass(frozen=True, slots=True)
class ValidArgument(Requirement):
    """A helper's argument in ``reg`` is what its signature wants (kernel: check_func_arg)."""

    helper: int
    reg: int
    arg: Arg


@dataclass(frozen=True, slots=True)
class SuitableMap(Requirement):
    """The helper works on this type of map (kernel: check_map_func_compatibility)."""

    helper: int


@dataclass(frozen=True, slots=True)
class ValidCall(Requirement):
    """A subprogram can be called here: depth, arguments of a global one."""

    target: int


@dataclass(frozen=True, slots=True)
class KnownHelper(Requirement):
    """``reg`` holds the number of one helper (callx). Linux has no such call; conformance cases do."""

    reg: int


@dataclass(frozen=True, slots=True)
class NothingOpen(Requirement):
    """Everything that was acquired has been released (kernel: check_resource_leak)."""

    event: Event


@dataclass(frozen=True, slots=True)
class ResultInRange(Requirement):
    """r0 at exit is what this frame must return: by program type, callback or function (kernel: check_return_code)."""


@dataclass(frozen=True, slots=True)
class LegacyPacketLoad(Requirement):
    """LD_ABS or LD_IND may run here: r6 is the context, no subprograms of the wrong kind (kernel: check_ld_abs)."""

    source: int | None


@dataclass(frozen=True, slots=True)
class Unreachable(Requirement):
    """No path may come here; it cannot be proved on a path that does."""

    reason: str


@dataclass(frozen=True, slots=True)
class Terminates(Requirement):
    """The program ends, within the limits of simulation."""


@dataclass(frozen=True, slots=True)
class Supported(Requirement):
    """skep's verifier must know the feature; it does not yet."""

    feature: str
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A requirement that a state does not meet.

    Attributes:
        rule: which rule is broken.
        requirement: the obligation.
        kernel: the sentence of the kernel's verifier, as near as we can say it.
        reg: the register concerned, if any.
        values: numbers and names for the message; the keys stand behind each rule in :class:`Rule`.
        slot: the instruction, counted as the kernel counts; filled in by the exploration.
    """

    rule: Rule
    requirement: Requirement | None
    kernel: str
    reg: int | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    slot: int = -1
