"""What only a kernel has is refused when a program is loaded, on both ways to run it."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.errors import UnsupportedError
from skep.verifier import verify
from skep.vm.engine import VmEngine
from tests.unit.verifier.core.kernel_types import typed

TC: dict[str, object] = {"prog_type": ProgType.SCHED_CLS, "attach_type": None}
END = "\nr0 = 0\nexit"


@pytest.mark.parametrize("interpret", [False, True])
@pytest.mark.parametrize(
    ("text", "kfuncs", "linking", "reason"),
    [
        ("r0 = 0\nexit", (), {}, "tracing programs get objects of the kernel"),
        (
            "call 0\ncall 0" + END,
            ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
            TC,
            "no kernel function bpf_rcu_read_lock()",
        ),
        ("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)" + END, (), {**TC, "ksyms": ("limit",)}, "no kernel variables"),
    ],
)
def test_refused(interpret: bool, text: str, kfuncs: tuple[str, ...], linking: dict[str, object], reason: str) -> None:
    program = verify(typed(text, *kfuncs, **linking))  # type: ignore[arg-type]
    engine = VmEngine(interpret=interpret)
    try:
        with pytest.raises(UnsupportedError) as caught:
            engine.load_program(program, {})
        assert caught.value.diagnostics[0].code == "E0301"
        assert reason in caught.value.diagnostics[0].what
    finally:
        engine.close()
