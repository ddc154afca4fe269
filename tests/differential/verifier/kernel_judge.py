"""What the running kernel says to linked programs: loaded in a child process, closed at once, never run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skep.errors import RejectedError, SkepError
from skep.kernel.engine import KernelEngine
from skep.kernel.verifier_log import parse_log
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram


@dataclass(frozen=True, slots=True)
class Answer:
    """The kernel's verdict.

    Attributes:
        accepted: None: it never came to its verifier.
        sentence: why not.
        insn: the slot where it stopped.
    """

    accepted: bool | None
    sentence: str = ""
    insn: int | None = None


def ask(programs: Sequence[LinkedProgram]) -> list[Answer]:
    """One answer per program, in their order. A child that dies leaves the answer None, and another goes on."""
    answers: list[Answer] = []
    while len(answers) < len(programs):
        found = _in_child(programs[len(answers) :])
        answers += found or [Answer(None, "the child that loaded it died")]
    return answers


def _in_child(programs: Iterable[LinkedProgram]) -> list[Answer]:
    """Answers up to the program that the child did not survive."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            for program in programs:
                found = _load(program)
                out.write(json.dumps([found.accepted, found.sentence, found.insn]) + "\n")
                out.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        answers = [Answer(*json.loads(line)) for line in lines]
    os.waitpid(child, 0)
    return answers


def _load(program: LinkedProgram) -> Answer:
    with_maps: dict[str, MapSpec] = dict(program.maps)
    engine = KernelEngine()
    try:
        handles = {}
        for name, spec in with_maps.items():
            handles[name] = engine.create_map(spec)
            if spec.contents is not None and spec.max_entries == 1 and not spec.flags & 1 << 7:
                handles[name].update(bytes(4), spec.contents)
        engine.load_linked(program, handles)
    except RejectedError as error:
        log = parse_log(error.log)
        return Answer(False, log.sentence, log.insn)
    except (SkepError, OSError) as error:
        return Answer(None, str(error))
    finally:
        engine.close()
    return Answer(True)
