"""Drawing the next operation, in every driver that draws at random: one alone, or two, or a
walker and one, in flight together, and their schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotplug_model import steps
from hotplug_model.boot import BootLayout
from hotplug_model.errors import ModelError
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Chooser, Op, drawn_ops, ops_on_request
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.draw import rarely
from hotplug_model.ops.faults import draw_with_fault
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.ops.pages import UnpinPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.ops.walk import Walk
from hotplug_model.walkers import READERS

BEHIND, AMID_A_WALK = 1, 2
"""Of three places where to draw the second operation; the simplest is beside the first."""
RESIZED = (VirtioMemRequest, VirtioMemRemove)
ON_THEIR_WAY = (OnlineMemoryBlock, OfflineMemoryBlock, OfflineAndRemoveMemory)
REMOVERS = (RemoveMemory, OfflineAndRemoveMemory)
PROBES = (VirtioMemProbe, DaxKmemProbe)
OWNED = (AddMemory, MemremapPages, *REMOVERS)
"""What nobody but its driver does with memory of a device."""
MAX_SWITCHES = 3
"""An operation is left that often at the most before everybody runs to the end."""
WISHES = 1 << 16
"""Places of a switch to choose from before it is known how many there are."""


def swarm(choose: Chooser) -> list[type[Op]]:
    """The kinds of operations of one example: about two thirds of all.

    Where all kinds take part in all examples they undo one another: added memory is gone
    before it was online. Choice 0 leaves a kind out, and where none is left all are drawn,
    so that an example shrinks to one of all kinds. What a boot layout has to be asked for for is
    never left out.

    Source: Groce et al., Swarm Testing (ISSTA 2012).
    """
    some = [kind for kind in drawn_ops().values() if choose.index(3)]
    return some + list(ops_on_request().values())


def drawn_layouts(layouts: Mapping[str, BootLayout]) -> list[str]:
    """Names of *layouts*, one of which an example boots; that of Hyper-V comes twice: what its
    host asks is asked nowhere else."""
    return [*layouts, *(name for name, each in layouts.items() if each.hypervisor == "hyper-v")]


def draw_next(
    kernel: Kernel, kinds: Sequence[type[Op]], choose: Chooser, faults: bool, races: bool
) -> Op:
    """What a machine is asked next; with *races*, every fourth time two things together."""
    together = races and choose.index(4) == 3
    return (draw_together if together else draw_one)(kernel, kinds, choose, faults)


def draw_together(
    kernel: Kernel, kinds: Sequence[type[Op]], choose: Chooser, faults: bool = False
) -> Op:
    """Two operations of *kinds* that are enabled, or a walker and one, and their schedule;
    one operation alone if nobody would ask for both at once.

    The second is drawn where the first has not begun, or where it is over. The choices
    shrink to fewer switches, then to earlier ones.
    """
    nr_switches = choose.index(MAX_SWITCHES + 1)
    wishes = [choose.index(WISHES) for _ in range(nr_switches)]
    where = choose.index(3)
    if where == AMID_A_WALK:
        first: Op = draw_walk(kernel, choose)
        second = draw_one(kernel, kinds, choose, faults)
        milestones = [nr_milestones(kernel.snapshot(), first)]
    else:
        first, after = draw_one(kernel, kinds, choose, faults), kernel.snapshot()
        milestones = [nr_milestones(after, first)]
        second = draw_one(after if where == BEHIND else kernel, kinds, choose, faults)
    if not may_meet(first, second):
        return first
    milestones.append(nr_milestones(kernel.snapshot(), second))
    return Interleave((first, second), scheduled(milestones, wishes))


def draw_walk(kernel: Kernel, choose: Chooser) -> Walk:
    """Any walker that comes to the first pfn of a range of pages that are alike."""
    names, x = READERS.names(), kernel.extents()
    return Walk(names[choose.index(len(names))], int(x.start_pfn[choose.index(len(x.start_pfn))]))


def draw_one(
    kernel: Kernel, kinds: Sequence[type[Op]], choose: Chooser, faults: bool = False
) -> Op:
    """An operation of one of *kinds* that are enabled, as likely as their weights say; of any
    kind if none is.

    With *faults* one of its allocations fails now and then.
    """
    for some in (kinds, drawn_ops().values()):
        # What has to be asked for leaves no trace where it was not.
        here = [kind for kind in some if not kind.on_request or kind.enabled(kernel)]
        pool = [kind for kind in here for _ in range(kind.weight)]
        while pool:
            kind = pool[choose.index(len(pool))]
            pool = [other for other in pool if other is not kind]
            if kind.enabled(kernel) and (kind.promising(kernel) or rarely(choose, 4)):
                if faults:
                    return draw_with_fault(kind, kernel, choose)
                return kind.draw(kernel, choose)
    raise ModelError("no operation is enabled")


def nr_milestones(kernel: Kernel, op: Op) -> int:
    """How many milestones *op* passes if it is alone; *kernel* is where it ends."""
    passed: list[str] = []
    kernel.faults.arm(op.fail_at)
    steps.run(op.steps(kernel), passed.append)
    kernel.faults.arm(None)
    return len(passed)


def scheduled(milestones: Sequence[int], wishes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """A turn for each of the *wishes*, alternately; wish 0 is for the first milestone.

    Whoever has no milestone left has no more turns.
    """
    left, turns = list(milestones), []
    for number, wish in enumerate(wishes):
        context = number % len(left)
        if not left[context]:
            break
        length = wish % left[context] + 1
        left[context] -= length
        turns.append((context, length))
    return tuple(turns)


def may_meet(first: Op, second: Op) -> bool:
    """Whether somebody may ask for both at once.

    Nobody but its driver adds, maps or removes what a virtio-mem or dax device has: the
    memory is no one else's. Where the driver of a dax device is unbound, nobody does so at
    all. Nor does anybody map as a device's what another removes as System RAM: remove_memory()
    asks for no more than that no block there is online. And who removes several blocks
    removes what is all there, not what another has yet to add or has half removed:
    try_remove_memory() warns of a missing block, and the resource stays. What the host adds
    to a guest of Hyper-V nobody else claims, and it asks for one thing at a time. A reference is
    dropped by the one who has it. Operations
    that are drawn one after the other know that already.

    # Simplified: the driver's hotplug_mutex is no lock of the model. What it keeps apart,
    a change of the device's size and a block on its way online or offline, is not asked
    for at once, in other memory of the machine neither.

    Source: virtio_mem_memory_notifier_cb() locks it at MEM_GOING_ONLINE and
    MEM_GOING_OFFLINE and unlocks it when that is over; virtio_mem_sbm_unplug_request().
    """
    for one, other in ((first, second), (second, first)):
        if isinstance(one, RESIZED) and isinstance(other, ON_THEIR_WAY):
            return False
        if isinstance(one, REMOVERS) and isinstance(other, MemremapPages) and touch(one, other):
            return False
        moves = isinstance(one, REMOVERS) and isinstance(other, (AddMemory, *REMOVERS))
        if moves and touch(one, other) and one.arguments()["pfns"] != other.arguments()["pfns"]:
            return False
        if isinstance(one, UnpinPages) and isinstance(other, UnpinPages) and touch(one, other):
            return False
        if isinstance(one, HotAddReq) and (isinstance(other, HotAddReq) or touch(one, other)):
            return False
        another = not isinstance(other, PROBES)
        if isinstance(one, PROBES) and another and touch(one, other):
            return False
        if isinstance(one, DaxKmemRemove) and isinstance(other, OWNED):
            return False
    return True


def touch(one: Op, other: Op) -> bool:
    """Whether both name some pfn."""
    return any(a.overlaps(b) for a in one.pfns_touched() for b in other.pfns_touched())
