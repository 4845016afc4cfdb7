"""Replaying a recording against the model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from hotplug_model import steps
from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.kernel import Kernel
from hotplug_model.recorded.compare import compare_step
from hotplug_model.recorded.kernels import DEBUG_BUILDS, kernel_of
from hotplug_model.recorded.recording import Recording, Step, load
from hotplug_model.recorded.tally import Mismatch, Tally
from hotplug_model.recorded.translate import RegionRefused, Translator
from hotplug_model.state.ledger import Law

REGION_REFUSED = -1
SHOWN = 6
DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
"""What comes of reading a state that is no state."""


@dataclass(slots=True, kw_only=True)
class Conformance:
    """How one recording and the model compare."""

    name: str
    kernel: str
    steps: int = 0
    comparisons: int = 0
    mismatches: int = 0
    first: str = ""
    """The first step at which they part, with both states; empty if they agree."""
    per_step: list[list[Mismatch]] = field(default_factory=list)


def conform(path: Path) -> Conformance:
    """Replay one file; :class:`UserError` if it is no recording that can be replayed."""
    recording = load(path)
    variant = kernel_of(recording.kernel_key)
    kernel = Kernel.boot(recording.geometry, variant.rules(), recording.boot)
    result = Conformance(name=recording.name, kernel=str(variant))
    has_kmem = recording.kernel_key not in DEBUG_BUILDS
    translator = Translator(recording.device_block_pages, has_kmem)
    for index, step in enumerate(recording.steps):
        tally = Tally()
        crashed = advance(kernel, translator, step, tally)
        if not crashed:
            compare(kernel, recording, step, tally, path)
        result.steps += 1
        result.comparisons += tally.comparisons
        found = tally.mismatches or []
        result.mismatches += len(found)
        result.per_step.append(found)
        if found and not result.first:
            result.first = describe(index, step, found)
    return result


def compare(
    kernel: Kernel, recording: Recording, step: Step, tally: Tally, path: Path
) -> None:
    """Compare the machine behind *step*, or say that the recording is damaged."""
    try:
        compare_step(kernel, recording, step, tally)
    except DAMAGED as error:
        raise UserError(f"{path}: damaged state: {type(error).__name__} {error}"[:160]) from None


def advance(kernel: Kernel, translator: Translator, step: Step, tally: Tally) -> bool:
    """Carry a step out and compare its errno; whether the kernel crashed on it."""
    kernel.notified.clear()
    refusal: KernelRefusal | None = None
    for request in translator.requests(step, kernel):
        refusal = steps.run(request(kernel))
    kernel.pfns.merge()
    kernel.vmemmap.merge()
    if step.errno == "CRASH":
        strange = any(e.law == Law.FREED_TO_A_STRANGER for e in kernel.ledger.breaches)
        tally.compare("freed to a stranger before the oops", step.op, True, strange)
        return True
    if isinstance(step.errno, int):
        answered = refusal.errno if refusal else 0
        if isinstance(refusal, RegionRefused):
            answered = REGION_REFUSED
        tally.compare("errno", step.op, step.errno, answered)
    return False


def describe(index: int, step: Step, found: list[Mismatch]) -> str:
    """The first divergence, a few lines."""
    shown = [f"  {mismatch}" for mismatch in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"  ... and {len(found) - SHOWN} more")
    args = f" {step.args}" if step.args else ""
    return "\n".join([f"step {index}: {step.op}{args}", *shown])


def conform_main(paths: list[str], as_json: bool) -> int:
    """The ``conform`` command: a line a file and the first divergence; 0 if all agree."""
    results = [conform(Path(path)) for path in paths]
    if as_json:
        fields = ("name", "kernel", "steps", "comparisons", "mismatches", "first")
        rows = [{field: getattr(result, field) for field in fields} for result in results]
        print(json.dumps({"files": rows, "mismatches": total(results)}, indent=2))
        return 1 if total(results) else 0
    for result in results:
        print(
            f"{result.name}: {result.kernel}: {result.steps} steps, "
            f"{result.comparisons} comparisons, {result.mismatches} mismatches"
        )
        if result.first:
            print(f"first divergence at {result.first}")
    print(
        f"{len(results)} recordings, {sum(result.comparisons for result in results)} "
        f"comparisons, {total(results)} mismatches"
    )
    return 1 if total(results) else 0


def total(results: list[Conformance]) -> int:
    """Mismatches of all recordings."""
    return sum(result.mismatches for result in results)
