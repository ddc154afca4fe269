"""Keys and values without type information; names that say what was probably meant."""

from __future__ import annotations

import pytest

from skep.collection.codecs import BytesCodec
from skep.collection.object import Names
from skep.errors import UsageError


def test_bytes_codec_takes_bytes_and_numbers() -> None:
    codec = BytesCodec(4)
    assert codec.encode(b"abcd") == b"abcd"
    assert codec.encode(0x01020304) == b"\x04\x03\x02\x01"
    assert codec.encode(-1) == b"\xff" * 4
    assert BytesCodec(2, "big").encode(1) == b"\x00\x01"
    assert codec.decode(b"abcd") == b"abcd"


@pytest.mark.parametrize("wrong", [b"abc", b"abcde", 1 << 32, -(1 << 31) - 1, "abcd", 1.5, None])
def test_bytes_codec_refuses_what_does_not_fit(wrong: object) -> None:
    with pytest.raises(UsageError) as caught:
        BytesCodec(4).encode(wrong)
    assert caught.value.diagnostic.code == "M0001"


def test_a_missing_name_says_what_is_there() -> None:
    names = Names("map", {"hits": 1, "misses": 2})
    assert names["hits"] == 1
    assert list(names) == ["hits", "misses"]
    with pytest.raises(KeyError, match="did you mean 'misses'"):
        names["mises"]
    with pytest.raises(UsageError, match="there are: hits, misses"):
        names["other"]
    assert "zzz" not in names
