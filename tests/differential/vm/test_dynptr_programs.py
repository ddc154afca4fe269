"""Random programs with dynptrs that the verifier accepts: no fault in the checked interpreter, and the same results as
native code. SKEP_SEED and SKEP_PROGRAMS choose others, and more."""

from __future__ import annotations

import os

from skep.model.programs import Outcome, VerifiedProgram
from skep.verifier import judge, verify
from skep.vm.engine import VmEngine
from tests.differential.verifier.dynptr_programs import MAPS, program

SEED = int(os.environ.get("SKEP_SEED", "1"))
COUNT = int(os.environ.get("SKEP_PROGRAMS", "40"))
PACKET, STATE, KEY = bytes(range(100)), bytes(range(64)), bytes(4)


def test_native_and_interpreted_alike() -> None:
    target, accepted = VmEngine().target, 0
    for seed in range(SEED, SEED + COUNT):
        linked = program(target, seed, kfuncs=False)
        if judge(linked).outcome is not Outcome.ACCEPTED:
            continue
        accepted += 1
        verified = verify(linked)
        native, interpreted = outcome(VmEngine(), verified), outcome(VmEngine(interpret=True), verified)
        assert native == interpreted, f"seed {seed}"
    assert accepted > COUNT // 10


def outcome(engine: VmEngine, verified: VerifiedProgram) -> tuple[int, bytes | None, list[bytes]]:
    """What a run returns, and what it leaves in the maps."""
    maps = {name: engine.create_map(spec) for name, spec in MAPS.items()}
    maps["state"].update(KEY, STATE)
    result = engine.load_program(verified, maps).run(PACKET)
    found = result.retval, maps["state"].lookup(KEY), list(maps["events"].records())
    engine.close()
    return found
