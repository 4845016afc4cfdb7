"""Read-copy-update, as state: who reads what, and what may be freed only when they left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hotplug_model.rules import Steps
from hotplug_model.state.locks import Locks

RCU_READ_LOCK = "rcu_read_lock"


def usage_of(section_nr: int) -> str:
    """``mem_section.usage``, as something that is freed."""
    return f"usage of section {section_nr}"


def page_ext_of(section_nr: int) -> str:
    """``mem_section.page_ext``, as something that is freed."""
    return f"page_ext of section {section_nr}"


@dataclass(slots=True)
class GracePeriod:
    """Ends when those that were inside at its begin have left, whoever came since."""

    waits_for: frozenset[int]
    frees: str
    """What kfree_rcu() was given; empty where synchronize_rcu() waits."""


@dataclass(slots=True)
class Rcu:
    """Readers, known by the number of their context, and what they have the address of.

    What is freed later has a name, e.g. ``usage of section 2``. Who has loaded its address
    and was not waited for is left with a dangling pointer.
    """

    pointers: dict[str, frozenset[int]] = field(default_factory=dict)
    """Who has loaded the address of what."""
    dangling: frozenset[tuple[str, int]] = frozenset()
    """Addresses of what was freed since."""
    pending: list[GracePeriod] = field(default_factory=list)

    def unlock(self, locks: Locks) -> None:
        """rcu_read_unlock(): grace periods end that waited for nobody else."""
        locks.drop_shared(RCU_READ_LOCK)
        waiting, self.pending = self.pending, []
        for period in waiting:
            period.waits_for -= {locks.context}
            if period.waits_for:
                self.pending.append(period)
            else:
                self.free(period.frees)

    def load(self, name: str, context: int) -> None:
        """*context* loads the address of *name*, to read there later."""
        self.pointers[name] = self.pointers.get(name, frozenset()) | {context}

    def read(self, name: str, context: int) -> bool:
        """*context* reads there and forgets the address: whether it was still allocated."""
        left = self.pointers.pop(name) - {context}
        if left:
            self.pointers[name] = left
        freed = (name, context) in self.dangling
        self.dangling -= {(name, context)}
        return not freed

    def forget(self, context: int) -> None:
        """*context* returns: it has no address any more."""
        for name in [name for name, readers in self.pointers.items() if context in readers]:
            self.read(name, context)

    def free(self, name: str) -> None:
        """kfree(): whoever has the address of *name* has it in vain."""
        self.dangling |= {(name, context) for context in self.pointers.get(name, ())}

    def kfree_rcu(self, name: str, locks: Locks) -> None:
        """Free *name* as soon as those that are inside now have left."""
        inside = locks.shared.get(RCU_READ_LOCK)
        if inside:
            self.pending.append(GracePeriod(inside, name))
        else:
            self.free(name)

    def synchronize_rcu(self, locks: Locks) -> Steps:
        """Wait until those that are inside now have left."""
        inside = locks.shared.get(RCU_READ_LOCK)
        if inside:
            period = GracePeriod(inside, "")
            self.pending.append(period)
            while period.waits_for:
                yield locks.wait_for(RCU_READ_LOCK)
            locks.waiting.pop(locks.context, None)

    def place(self) -> tuple[object, ...]:
        """What decides how readers go on."""
        pointers = sorted((name, *sorted(readers)) for name, readers in self.pointers.items())
        pending = [(*sorted(each.waits_for), each.frees) for each in self.pending]
        return tuple(pointers), tuple(sorted(self.dangling)), tuple(pending)

    def copy(self) -> Self:
        """An independent copy."""
        pending = [GracePeriod(each.waits_for, each.frees) for each in self.pending]
        return type(self)(dict(self.pointers), self.dangling, pending)
