"""Several operations at once, in an order that a schedule says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from hotplug_model.contexts import Contexts
from hotplug_model.errors import UserError
from hotplug_model.kernel import Kernel
from hotplug_model.ops.op import Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps

MAX_CONTEXTS = 8
MAX_TURN = 1 << 16


@dataclass(frozen=True)
class Interleave(Op):
    """Carry several operations out at once; each is left and entered at milestones.

    A turn names a context and how many milestones it passes before another goes on. After
    the turns each runs to its end, the one behind the last first. Never refuses: what
    became of each operation is its last milestone.

    # Simplified: whether an operation that the kernel refused has left things alone is
    not asked, for the others have changed them meanwhile.
    """

    contexts: tuple[Op, ...]
    turns: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        nr = len(self.contexts)
        if not 1 < nr <= MAX_CONTEXTS or any(isinstance(op, Interleave) for op in self.contexts):
            raise UserError(f"interleave.contexts: expected 2 to {MAX_CONTEXTS} operations")
        for turn in self.turns:
            if len(turn) != 2 or not (0 <= turn[0] < nr and 0 < turn[1] <= MAX_TURN):
                raise UserError("interleave.turns: a turn is [context, milestones to pass]")
        if self.fail_at is not None:
            raise UserError("interleave.fail_at: say it of one of the contexts")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Never by itself; :func:`hotplug_model.together.draw_together` makes schedules."""
        return False

    def pfns_touched(self) -> list[PfnRange]:
        """What any of the operations names."""
        return list(chain.from_iterable(op.pfns_touched() for op in self.contexts))

    def steps(self, kernel: Kernel) -> Steps:
        """See :class:`hotplug_model.contexts.Contexts`."""
        contexts = Contexts(kernel, self.contexts)
        try:
            yield from contexts.run(self.turns)
        finally:
            contexts.close()
