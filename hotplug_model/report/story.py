"""What happens in a trace, with the states that a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Violation, carry_out
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.trace import Trace, replay


@dataclass(slots=True)
class Story:
    """A trace up to the step that breaks something, or to its end."""

    trace: Trace
    variant: KernelVariant
    events: tuple[Op, ...]
    broken_at: int | None
    """Index of the event that breaks something; -1 for boot, None if nothing breaks."""
    violations: list[Violation]
    after: dict[int, Kernel] = field(default_factory=dict)
    """States behind those events that are shown; -1 for boot."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """``ok`` or the errno's name, of those events that are shown."""
    at: Kernel | None = None
    """The state in the middle of the last step in which the first violation shows."""

    @property
    def milestone(self) -> str:
        """Where the first violation shows."""
        return self.violations[0].milestone if self.violations else QUIESCENT


def tell(trace: Trace, variant: KernelVariant, head: int, tail: int) -> Story:
    """Replay *trace*, keeping the first *head* and the last *tail* states."""
    broken_at, violations = replay(trace, variant)
    events = trace.events if broken_at is None else trace.events[: broken_at + 1]
    story = Story(trace, variant, events, broken_at, violations)
    checker = trace.machine(variant)
    kernel = checker.kernel
    last = len(events) - 1
    story.after[-1] = kernel.snapshot()
    for index, op in enumerate(events):
        if index == last:
            story.after[index - 1] = kernel.snapshot()
        refusal = apply(story, checker, op, index == last)
        if index < head or index > last - tail:
            story.outcomes[index] = refusal
            story.after[index] = kernel.snapshot()
    return story


def apply(story: Story, checker: Checker, op: Op, last: bool) -> str:
    """Carry one operation out; in the last one, keep the state in which something breaks."""
    kernel = checker.kernel

    def at(milestone: str) -> None:
        watched = last and story.at is None and milestone == story.milestone
        if watched and shows(story, checker, milestone):
            story.at = kernel.snapshot()

    refusal, _ = carry_out(kernel, op, at)
    return str(refusal) if refusal else "ok"


def shows(story: Story, checker: Checker, milestone: str) -> bool:
    """Whether the first violation is there now: a milestone may be passed often."""
    first = story.violations[0]
    found = checker.look(milestone)
    return any(v.invariant == first.invariant and v.pfns == first.pfns for v in found)
