"""Traces: what happened, as data, and how to make it happen again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from hotplug_model import trace_json
from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Outcome, Violation
from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import Invariant
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole run: the machine, the kernel, the events and what they should break."""

    geometry: str
    boot: BootLayout
    release: str | None = None
    changes: tuple[str, ...] = ()
    strict: bool = False
    """Whether known defects of mainline count."""
    events: tuple[Op, ...] = ()
    violates: tuple[str, ...] = ()
    """Invariants that the last event breaks, sorted; with no event, that boot breaks."""
    title: str = ""
    postmortem: str = ""
    """What the code did, and what it should do."""
    found: dict[str, str | int] = field(default_factory=dict)
    """How it was found: versions, seed, command. Never read."""

    @property
    def faults(self) -> bool:
        """Whether an allocation fails in it."""
        return any(event.fail_at for event in self.events)

    @property
    def together(self) -> bool:
        """Whether operations are in flight at the same time in it."""
        return any(isinstance(event, Interleave) for event in self.events)

    def variant(self) -> KernelVariant:
        """The kernel that the trace breaks."""
        return KernelVariant.named(self.release, self.changes)

    def machine(
        self,
        variant: KernelVariant | None = None,
        sound: set[bytes] | None = None,
        invariants: Iterable[Invariant] | None = None,
    ) -> Checker:
        """A freshly booted machine, of *variant* if given; the rest as in :class:`Checker`."""
        rules = (variant or self.variant()).rules()
        kernel = Kernel.boot(GEOMETRIES[self.geometry], rules, self.boot)
        return Checker(kernel, self.strict, sound, invariants=invariants)

    def says(self, index: int | None, violations: list[Violation]) -> bool:
        """Whether the trace says what :func:`replay` has found: that its last event breaks what
        it names, with no event boot, or that nothing is broken."""
        expected = len(self.events) - 1 if self.violates else None
        return index == expected and broken(violations) == self.violates

    def dumps(self) -> str:
        """The canonical text: equal traces are equal bytes."""
        return trace_json.dumps(self)

    @classmethod
    def loads(cls, text: str, trusted: tuple[str, ...] = ()) -> Self:
        """Read a trace; :class:`UserError`, one line, for anything that is none.

        *trusted* are the changes that are code and that the user, not the file, asked for.
        """
        trace = cls(**trace_json.fields(text))
        refuse_code(trace.changes, trusted)
        trace.variant().rules()
        return trace


def refuse_code(changes: tuple[str, ...], trusted: tuple[str, ...] = ()) -> None:
    """A trace may name registered changes only: it must never run code of its own."""
    for name in changes:
        if ":" in name and name not in trusted:
            raise UserError(
                f"trace names the change {name[:60]!r}, which is code; pass it with --change"
            )


def replay(
    trace: Trace,
    variant: KernelVariant | None = None,
    sound: set[bytes] | None = None,
    invariants: Iterable[Invariant] | None = None,
) -> tuple[int | None, list[Violation]]:
    """Index of the first event that violates something, and what it violates.

    -1 stands for the boot, None for a trace that nothing violates. Only *invariants* are
    asked, if they are given.
    """
    checker = trace.machine(variant, sound, invariants)
    if found := checker.boot():
        return -1, found
    for index, event in enumerate(trace.events):
        outcome: Outcome = checker.apply(event)
        if outcome.violations:
            return index, outcome.violations
    return None, []


def broken(violations: list[Violation]) -> tuple[str, ...]:
    """Names of the invariants that are violated, sorted."""
    return tuple(sorted({violation.invariant for violation in violations}))
