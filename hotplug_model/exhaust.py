"""Exhaustive search, a breadth at a time: what the shortest counterexample is, proven.

Every operation that could be drawn in a state is tried, by running its draw() through
every sequence of choices. States that were seen before are not tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hotplug_model.checker import QUIESCENT, Checker, Outcome, carry_out
from hotplug_model.fates import Fate
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.draw import Rare
from hotplug_model.ops.faults import allocations
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.state.faults import Allocation, spell
from hotplug_model.trace import Trace, broken

MAX_RARE = 1
"""Unusual choices an operation: two at once are left to random search."""


class ScriptedChooser:
    """A :class:`~hotplug_model.ops.Chooser` that follows a script, then chooses 0."""

    def __init__(self, script: list[int]) -> None:
        self.choices: list[int] = []
        self.options: list[int] = []
        self.nr_rare = 0
        self._script = script

    def index(self, n: int) -> int:
        """The next choice of the script, 0 behind its end."""
        at = len(self.choices)
        choice = self._script[at] if at < len(self._script) else 0
        self.choices.append(choice)
        self.options.append(2 if isinstance(n, Rare) else n)
        if isinstance(n, Rare) and choice:
            self.nr_rare += 1
            return n - 1
        return choice


def every_op(kernel: Kernel) -> Iterator[Op]:
    """Every operation that can be drawn in this state, each once, simplest first.

    At most MAX_RARE of an operation's choices are unusual ones.
    """
    found: set[Op] = set()
    for cls in OPS:
        if cls.enabled(kernel):
            for op in draws(kernel, cls):
                if op not in found:
                    found.add(op)
                    yield op


def every_fault(op: Op, made: Counter[Allocation]) -> Iterator[Op]:
    """*op* once for each allocation of those that it makes, with that one failing."""
    for kind, nr in made.items():
        for nth in range(nr):
            yield replace(op, fail_at=spell(kind, nth))


def simple_states(kernel: Kernel, depth: int) -> Iterator[Kernel]:
    """*kernel*, and what comes of up to *depth* operations, each drawn in the simplest way."""
    seen = {kernel.fingerprint()}
    frontier = [kernel]
    for _ in range(depth + 1):
        yield from frontier
        deeper = []
        for state in frontier:
            for cls in OPS:
                if cls.enabled(state):
                    after = state.snapshot()
                    refusal, _ = carry_out(after, next(draws(state, cls)))
                    if refusal is None and after.fingerprint() not in seen:
                        seen.add(after.fingerprint())
                        deeper.append(after)
        frontier = deeper


def every_faulty_op(booted: Sequence[Kernel], depth: int) -> Iterator[tuple[Kernel, Op]]:
    """Every single failing allocation of every usual operation, with a state for it.

    Right after boot that is all; *depth* operations later, those of operations that have
    not allocated in that way before.
    """
    tried: set[tuple[Op, frozenset[tuple[Allocation, int]], bool]] = set()
    for kernel in booted:
        for nr, state in enumerate(simple_states(kernel, depth)):
            for op in usual_ops(state):
                made = allocations(state, op)
                key = (op, frozenset(made.items()), state.layout.holes_in_zone)
                if nr == 0 or key not in tried:
                    tried.add(key)
                    yield from ((state, faulty) for faulty in every_fault(op, made))


def usual_ops(kernel: Kernel) -> Iterator[Op]:
    """Every operation with one unusual choice, but maps, of which there are many, with none."""
    for cls in OPS:
        if cls.enabled(kernel):
            max_rare = 0 if cls is MemremapPages else MAX_RARE
            yield from dict.fromkeys(draws(kernel, cls, max_rare))


def fates(booted: Sequence[Kernel], depth: int) -> tuple[set[Fate], list[str]]:
    """How failing allocations end on machines of one geometry; and what they violate."""
    found: set[Fate] = set()
    violated: list[str] = []
    sound: set[bytes] = set()
    for kernel, op in every_faulty_op(booted, depth):
        outcome, lasting = aftermath(kernel, op, sound)
        if lasting:
            lasting -= aftermath(kernel, replace(op, fail_at=None), sound)[1]
        assert outcome.failed is not None
        err = outcome.refusal.errno if outcome.refusal else 0
        found |= {Fate(op.op_name(), outcome.failed, err, defect) for defect in {"", *lasting}}
        violated += [f"{op}: {violation}" for violation in outcome.violations]
    return found, violated


def aftermath(kernel: Kernel, op: Op, sound: set[bytes]) -> tuple[Outcome, set[str]]:
    """What *op* does, and which known defects of mainline last that did not show before."""
    checker = Checker(kernel.snapshot(), sound=sound)
    before = checker.look(QUIESCENT)
    outcome = checker.apply(op)
    after = [v for v in outcome.known if v.milestone == QUIESCENT] + checker.look(QUIESCENT)
    return outcome, {v.defect for v in after if v.defect} - {v.defect for v in before}


def draws(kernel: Kernel, cls: type[Op], max_rare: int = MAX_RARE) -> Iterator[Op]:
    """What *cls* draws under every sequence of choices, counted up like an odometer."""
    script: list[int] = []
    while True:
        chooser = ScriptedChooser(script)
        op = cls.draw(kernel, chooser)
        if chooser.nr_rare <= max_rare:
            yield op
        script, options = chooser.choices, chooser.options
        if chooser.nr_rare > max_rare:
            # Nothing behind the choice that was one too many needs to be tried.
            script = script[: last_rare(script, options)]
        while script and script[-1] + 1 == options[len(script) - 1]:
            script = script[:-1]
        if not script:
            return
        script = [*script[:-1], script[-1] + 1]


def last_rare(script: list[int], options: list[int]) -> int:
    """Length of *script* up to and with its last choice that is not the simplest."""
    return max(i for i, choice in enumerate(script) if choice and options[i] == 2) + 1


def shortest(machine: Trace, depth: int) -> Trace | None:
    """A shortest trace of at most *depth* events that breaks something; None: there is none.

    *machine* says which kernel and boot layout; its events are not looked at.
    """
    booted = machine.machine()
    if found := booted.boot():
        return replace(machine, events=(), violates=broken(found))
    sound: set[bytes] = set()
    frontier: list[tuple[Kernel, tuple[Op, ...]]] = [(booted.kernel, ())]
    seen = {booted.kernel.fingerprint()}
    for _ in range(depth):
        deeper: list[tuple[Kernel, tuple[Op, ...]]] = []
        for kernel, events in frontier:
            for op in every_op(kernel):
                checker = Checker(kernel.snapshot(), machine.strict, sound)
                outcome = checker.apply(op)
                if outcome.violations:
                    path = (*events, op)
                    return replace(machine, events=path, violates=broken(outcome.violations))
                state = checker.kernel.fingerprint()
                if state not in seen:
                    seen.add(state)
                    deeper.append((checker.kernel, (*events, op)))
        frontier = list(deeper)
    return None
