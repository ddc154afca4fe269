"""Codecs of single values and of arrays: what they share, and how each turns bytes into Python and back."""

from __future__ import annotations

import struct
from typing import Any, Final

from skep.btf.python_values import ArrayValue, Bytes, Text
from skep.diagnostics import Diagnostic
from skep.errors import UsageError

_BYTES_LIKE = (bytes, bytearray, memoryview)


class ValueFault(Exception):
    """A value that does not fit; gathers the path to it (``.addr[2]``) on its way out."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.path = ""

    def at(self, step: str) -> ValueFault:
        """The same fault, seen from one level further out."""
        self.path = step + self.path
        return self


class Codec:
    """Bytes of one type to a Python value and back. ``size`` in bytes.

    Attributes:
        title: the type's C name, for messages.
        weight: how many values lie inside; bounds the work of decoding.
        format: the struct module's letter where a value is that and nothing else; None otherwise.
    """

    size: int
    title: str
    weight: int = 1
    format: str | None = None

    def decode(self, data: bytes | bytearray | memoryview) -> Any:
        """The value of exactly ``size`` bytes; UsageError B0205 for another number of bytes."""
        if len(data) != self.size:
            what = f"{self.title} has {self.size} bytes, not {len(data)}"
            raise UsageError(Diagnostic("B0205", what))
        return self.read(data, 0)

    def encode(self, value: Any) -> bytes:
        """``size`` bytes; padding is zero.

        Raises:
            UsageError: B0201 a value of another kind, B0202 out of range, B0203 a member is missing, B0204 a member
                that is not there, B0205 a wrong length, B0206 no such enumerator, B0207 members of a union disagree.
        """
        buffer = bytearray(self.size)
        try:
            self.put(buffer, 0, value)
        except ValueFault as fault:
            raise self._usage_error(fault) from None
        return bytes(buffer)

    def _usage_error(self, fault: ValueFault) -> UsageError:
        place = f" at {fault.path.removeprefix('.')}" if fault.path else ""
        return UsageError(Diagnostic(fault.code, f"{fault.what}{place}", why=(f"the type is {self.title}",)))

    def put(self, buffer: bytearray, offset: int, value: Any) -> None:
        """Write a value into zeroed bytes; the very bytes of a value are welcome everywhere."""
        if isinstance(value, _BYTES_LIKE):
            self.put_bytes(buffer, offset, value)
        else:
            self.write(buffer, offset, value)

    def put_bytes(self, buffer: bytearray, offset: int, value: bytes | bytearray | memoryview) -> None:
        """Write raw bytes of this type."""
        if len(value) != self.size:
            raise ValueFault("B0205", f"{self.title} has {self.size} bytes, not {len(value)}")
        buffer[offset : offset + self.size] = value

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        """Decode at an offset; the bytes are there."""
        raise NotImplementedError

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        """Encode at an offset; ValueFault when the value does not fit."""
        raise NotImplementedError

    def mask(self) -> bytes:
        """Ones where a bit belongs to the value, zeros in padding."""
        return b"\xff" * self.size


def wrong_kind(title: str, wanted: str, value: Any) -> ValueFault:
    """The fault for a value that is no number, no list, ..."""
    return ValueFault("B0201", f"{title} takes {wanted}, not {type(value).__name__}")


def checked_int(title: str, value: Any, low: int, high: int) -> int:
    """An int in a range; whatever has __index__ counts as one."""
    try:
        number = value.__index__()
    except AttributeError:
        raise wrong_kind(title, "an int", value) from None
    if not low <= number <= high:
        raise ValueFault("B0202", f"{number} does not fit {title} ({low} to {high})")
    return int(number)


_INT_FORMATS: Final = {1: "b", 2: "h", 4: "i", 8: "q"}


class IntCodec(Codec):
    """Integers and pointers of any size."""

    def __init__(self, title: str, size: int, signed: bool, byte_order: str) -> None:
        self.title = title
        self.size = size
        self.signed = signed
        self._little = byte_order == "little"
        self.low, self.high = int_range(size * 8, signed)
        letter = _INT_FORMATS.get(size)
        self._struct: struct.Struct | None = None
        if letter is not None:
            self.format = letter if signed else letter.upper()
            self._struct = struct.Struct(("<" if self._little else ">") + self.format)

    def encode(self, value: Any) -> bytes:
        """As Codec.encode; numbers are the most frequent keys, so they take a short way."""
        if self._struct is not None:
            try:
                return self._struct.pack(value)
            except (struct.error, TypeError):
                pass  # raw bytes, or a fault to explain
        return super().encode(value)

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        if self._struct is not None:
            return self._struct.unpack_from(data, offset)[0]
        chunk = data[offset : offset + self.size]
        return int.from_bytes(chunk, "little" if self._little else "big", signed=self.signed)

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        number = checked_int(self.title, value, self.low, self.high)
        order = "little" if self._little else "big"
        buffer[offset : offset + self.size] = number.to_bytes(self.size, order, signed=self.signed)  # type: ignore[arg-type]


def int_range(bits: int, signed: bool) -> tuple[int, int]:
    """Lowest and highest value."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


class BoolCodec(Codec):
    """bool; a byte that is neither 0 nor 1 stays a number."""

    def __init__(self, title: str, whole: Codec) -> None:
        self.title = title
        self.size = whole.size
        self._whole = whole

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        number = self._whole.read(data, offset)
        return bool(number) if number in (0, 1) else number

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        self._whole.write(buffer, offset, int(value) if isinstance(value, bool) else value)

    def mask(self) -> bytes:
        return self._whole.mask()


class EnumCodec(Codec):
    """Enumerators by name; other values as numbers."""

    def __init__(self, title: str, whole: Codec, values: tuple[tuple[str, int], ...]) -> None:
        self.title = title
        self.size = whole.size
        self._whole = whole
        self._numbers = dict(values)
        self._names: dict[int, str] = {}
        for name, number in values:
            self._names.setdefault(number, name)

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        number = self._whole.read(data, offset)
        return self._names.get(number, number)

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if isinstance(value, str):
            if value not in self._numbers:
                known = ", ".join(list(self._numbers)[:8])
                raise ValueFault("B0206", f"{self.title} has no enumerator {value!r}; it has {known or 'none'}")
            value = self._numbers[value]
        self._whole.write(buffer, offset, value)

    def mask(self) -> bytes:
        return self._whole.mask()


class BitfieldCodec(Codec):
    """Some bits of the bytes that hold them.

    Big-endian BTF counts bits from the most significant one of the first byte, little-endian from the least.

    Args:
        start: first bit within the first byte, 0-7.
    """

    def __init__(self, title: str, start: int, bits: int, signed: bool, byte_order: str) -> None:
        self.title = f"{title}:{bits}"
        self.size = (start + bits + 7) // 8
        self._order = byte_order
        self._shift = start if byte_order == "little" else self.size * 8 - start - bits
        self._ones = (1 << bits) - 1
        self._sign = 1 << (bits - 1) if signed else 0
        self._low, self._high = int_range(bits, signed)

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        whole = int.from_bytes(data[offset : offset + self.size], self._order)  # type: ignore[arg-type]
        number = (whole >> self._shift) & self._ones
        return (number ^ self._sign) - self._sign

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        number = checked_int(self.title, value, self._low, self._high) & self._ones
        whole = int.from_bytes(buffer[offset : offset + self.size], self._order)  # type: ignore[arg-type]
        whole = whole & ~(self._ones << self._shift) | number << self._shift
        buffer[offset : offset + self.size] = whole.to_bytes(self.size, self._order)  # type: ignore[arg-type]

    def put_bytes(self, buffer: bytearray, offset: int, value: bytes | bytearray | memoryview) -> None:
        raise wrong_kind(self.title, "an int", value)

    def mask(self) -> bytes:
        return (self._ones << self._shift).to_bytes(self.size, self._order)  # type: ignore[arg-type]


class FloatCodec(Codec):
    """float and double; the bytes of a long double."""

    _FORMATS: Final = {2: "e", 4: "f", 8: "d"}

    def __init__(self, title: str, size: int, byte_order: str) -> None:
        self.title = title
        self.size = size
        self.format = self._FORMATS.get(size)
        self._struct = struct.Struct(("<" if byte_order == "little" else ">") + (self.format or f"{size}s"))

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        return self._struct.unpack_from(data, offset)[0]

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if self.format is None:
            raise wrong_kind(self.title, f"{self.size} bytes", value)
        try:
            self._struct.pack_into(buffer, offset, value)
        except struct.error:
            raise wrong_kind(self.title, "a float", value) from None
        except OverflowError:
            raise ValueFault("B0202", f"{value!r} does not fit {self.title}") from None


class CharArrayCodec(Codec):
    """char[N]: text."""

    def __init__(self, title: str, size: int) -> None:
        self.title = title
        self.size = size

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        raw = bytes(data[offset : offset + self.size])
        head, _, tail = raw.partition(b"\0")
        try:
            text = head.decode()
        except UnicodeDecodeError:
            return raw
        return Text(text, raw) if tail.strip(b"\0") else text

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if isinstance(value, Text) and len(value.raw) == self.size:
            self.put_bytes(buffer, offset, value.raw)
        elif isinstance(value, str):
            try:
                self.put_bytes(buffer, offset, value.encode())
            except UnicodeEncodeError:
                raise ValueFault("B0201", f"{self.title} takes text; {value!r} cannot be written in UTF-8") from None
        elif isinstance(value, list | tuple) and len(value) <= self.size:
            for index, each in enumerate(value):
                buffer[offset + index] = checked_int("char", each, -128, 255) & 0xFF
        else:
            raise wrong_kind(self.title, "text or bytes", value)

    def put_bytes(self, buffer: bytearray, offset: int, value: bytes | bytearray | memoryview) -> None:
        if len(value) > self.size:
            raise ValueFault("B0205", f"{self.title} has room for {self.size} bytes, not {len(value)}")
        buffer[offset : offset + len(value)] = value


class ByteArrayCodec(Codec):
    """Arrays of unsigned bytes."""

    def __init__(self, title: str, size: int) -> None:
        self.title = title
        self.size = size

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        return Bytes(data[offset : offset + self.size])

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if not isinstance(value, list | tuple):
            raise wrong_kind(self.title, "bytes or a list of numbers", value)
        if len(value) != self.size:
            raise ValueFault("B0205", f"{self.title} has {self.size} elements, not {len(value)}")
        for index, each in enumerate(value):
            try:
                buffer[offset + index] = checked_int("a byte", each, 0, 255)
            except ValueFault as fault:
                raise fault.at(f"[{index}]") from None


class ArrayCodec(Codec):
    """Arrays of anything else; arrays of numbers are packed at once."""

    def __init__(self, title: str, element: Codec, count: int, byte_order: str) -> None:
        self.title = title
        self.element = element
        self.count = count
        self.size = element.size * count
        self.weight = 1 + element.weight * count
        order = "<" if byte_order == "little" else ">"
        self._struct = struct.Struct(f"{order}{count}{element.format}") if element.format and count else None

    def read(self, data: bytes | bytearray | memoryview, offset: int) -> Any:
        if self._struct is not None:
            return ArrayValue(self._struct.unpack_from(data, offset))
        read, step = self.element.read, self.element.size
        return ArrayValue([read(data, offset + index * step) for index in range(self.count)])

    def write(self, buffer: bytearray, offset: int, value: Any) -> None:
        if isinstance(value, str) or not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
            raise wrong_kind(self.title, "a list", value)
        if len(value) != self.count:
            raise ValueFault("B0205", f"{self.title} has {self.count} elements, not {len(value)}")
        if self._struct is not None:
            try:
                self._struct.pack_into(buffer, offset, *value)
            except (struct.error, TypeError, OverflowError):
                pass  # element by element, to say which one does not fit
            else:
                return
        step = self.element.size
        for index in range(self.count):
            try:
                self.element.put(buffer, offset + index * step, value[index])
            except ValueFault as fault:
                raise fault.at(f"[{index}]") from None
            except (KeyError, IndexError):
                raise wrong_kind(self.title, "a list", value) from None

    def mask(self) -> bytes:
        return self.element.mask() * self.count
