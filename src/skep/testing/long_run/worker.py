"""One process of a long run, and the one that watches over it.

Before anything is done with a program that might end the process (machine code that crashes, a proof that never ends),
its key is written to a file. A process that dies or stops is noticed, reported with that key, and followed by another.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from skep.testing.differential import Difference, listing
from skep.testing.kernel_judge import KernelJudge
from skep.testing.long_run.batch import Batch, Candidate
from skep.testing.long_run.rig import Rig
from skep.testing.long_run.sources import Plan
from skep.testing.long_run.tally import Tally
from skep.testing.samples import link_sample

PROGRAMS = 128  # of one batch
PATIENCE_SECONDS = 180  # without a new program
_KEY_BYTES = 200


@dataclass(frozen=True, slots=True)
class Job:
    """What one process does.

    Attributes:
        number, jobs: which of how many processes: seeds are shared out.
        deadline: when to stop, by time.time().
        most: programs after which to stop; 0: none.
        start: seeds that were tried already by a process that died.
    """

    plan: Plan
    number: int
    jobs: int
    first: int
    deadline: float
    most: int
    save: Path
    strict: bool
    start: int = 0

    @property
    def current(self) -> Path:
        """The file with the key of the program that is tried now."""
        return self.save / f"current-{self.number}.txt"

    @property
    def counts(self) -> Path:
        """The file with what was counted so far."""
        return self.save / f"counts-{self.number}.json"


def work(job: Job) -> None:
    """Try programs until it is time to stop; counts are kept after each batch, so that little is lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for supervise(), which ends this process
    try:
        _work(job)
    except Exception:
        (job.save / f"raised-{job.number}.txt").write_text(traceback.format_exc())
        raise SystemExit(1) from None


def _work(job: Job) -> None:
    started, total, done = time.monotonic(), _counted(job), 0
    descriptor = os.open(job.current, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def at(key: str) -> None:
        os.pwrite(descriptor, key.encode().ljust(_KEY_BYTES)[:_KEY_BYTES] + b"\n", 0)

    def found(candidate: Candidate, kind: Difference, text: str) -> None:
        if kind is not Difference.STRICT or job.strict:
            save_finding(job.save, candidate, kind, text)

    rig, seconds = Rig(), total.seconds
    programs = job.plan.candidates(job.first + job.number + job.start * job.jobs, job.jobs)
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    with KernelJudge() as judge:
        kernel = judge if job.plan.kernel_every else None
        for number in itertools.count():
            if time.time() > job.deadline or (job.most and done >= job.most) or _is_orphan():
                break
            batch = Batch(rig, kernel, found, at)
            size = min(PROGRAMS, job.most - done) if job.most else PROGRAMS
            batch.run(itertools.islice(programs, size), optimised=bool(number & 1))
            done += batch.tally.generated
            total += batch.tally
            total.seconds = seconds + time.monotonic() - started
            job.counts.write_text(total.to_json())
    os.close(descriptor)


def _is_orphan() -> bool:
    """Whether the process that started this one is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _counted(job: Job) -> Tally:
    with contextlib.suppress(FileNotFoundError):
        return Tally.from_json(job.counts.read_text())
    return Tally()


def save_finding(save: Path, candidate: Candidate, kind: Difference, text: str) -> None:
    """Keep a program that shows something."""
    name = "".join(c if c.isalnum() else "-" for c in f"{kind.value} {candidate.key}").strip("-")[:120]
    again = f"python -m scripts.fuzz_programs {candidate.key}"
    program = listing(link_sample(candidate.sample))
    (save / f"{name}.txt").write_text(f"{again}\n{kind.value}: {text}\n\n{program}\n")
    print(f"{kind.value}: {candidate.key}: {text.splitlines()[-1] if text else ''}", flush=True)


def supervise(jobs: list[Job]) -> Tally:
    """Run the jobs, each in a process of its own; start another where one dies. Ctrl-C ends it early, counted."""
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[Job, BaseProcess]] = {}
    died: list[str] = []

    def start(job: Job) -> None:
        process = context.Process(target=work, args=(job,))
        process.start()
        running[job.number] = job, process

    for job in jobs:
        job.counts.unlink(missing_ok=True)
        job.current.unlink(missing_ok=True)
        start(job)
    try:
        while running:
            time.sleep(0.2)
            for job, process in list(running.values()):
                if process.is_alive() and not _is_stuck(job):
                    continue
                del running[job.number]
                if process.is_alive() or process.exitcode:
                    died.append(_bury(job, process))
                    if time.time() < job.deadline:
                        start(_after(job))
    except KeyboardInterrupt:
        pass
    finally:
        for _, process in running.values():
            process.kill()
    return _total(jobs, died)


def _is_stuck(job: Job) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - job.current.stat().st_mtime > PATIENCE_SECONDS
    return False


def _bury(job: Job, process: BaseProcess) -> str:
    """End what is left of a process; which program it was."""
    process.kill()
    process.join()
    key = job.current.read_text().strip() if job.current.exists() else "?"
    (job.save / f"died-{job.number}-{int(time.time())}.txt").write_text(
        f"python -m scripts.fuzz_programs {key}\nexit code {process.exitcode}\n"
    )
    print(f"died: {key} (exit code {process.exitcode})", flush=True)
    return key


def _after(job: Job) -> Job:
    """The same job from the seed after the one it died of."""
    words = job.current.read_text().split() if job.current.exists() else []
    seed = int(words[words.index("--seed") + 1]) if "--seed" in words else job.first + job.number
    start = (seed - job.first - job.number) // job.jobs + 1
    job.current.unlink(missing_ok=True)
    return Job(
        job.plan, job.number, job.jobs, job.first, job.deadline, job.most, job.save, job.strict, max(start, job.start)
    )


def _total(jobs: list[Job], died: list[str]) -> Tally:
    total = Tally()
    for tally in _tallies(jobs):
        total += tally
    total.died += len(died)
    total.differences["died"] += len(died)
    if not died:
        del total.differences["died"]
    return total


def _tallies(jobs: list[Job]) -> Iterator[Tally]:
    for job in jobs:
        if job.counts.exists():
            yield Tally.from_json(job.counts.read_text())
            job.counts.unlink()
        job.current.unlink(missing_ok=True)
