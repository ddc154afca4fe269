"""Generated programs as hypothesis strategies (needs hypothesis, which skep itself does not)."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from skep.testing.generate import Sample, generate, mutate

MAX_SEED = (1 << 32) - 1


@st.composite
def samples(draw: st.DrawFn, *, wildness: float | None = None, mutants: bool = False) -> Sample:
    """A program with its maps and packets.

    Args:
        wildness: see :func:`skep.testing.generate.generate`.
        mutants: half of them with some instructions changed.
    """
    sample = generate(draw(st.integers(0, MAX_SEED)), wildness=wildness)
    if mutants and draw(st.booleans()):
        mutation = draw(st.integers(0, MAX_SEED))
        return replace(sample, insns=mutate(sample.insns, mutation), mutation=mutation)
    return sample
