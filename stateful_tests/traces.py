"""Traces that the tests of the drivers share."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.boot import LAYOUTS
from hotplug_model.bug import bug_of
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.ops import Op
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.ops.resource import ReleaseMemRegion, RequestMemRegion
from hotplug_model.pfn import PfnRange
from hotplug_model.suspicion import Suspicion
from hotplug_model.trace import Trace, broken, replay

COLLISION = "1f90a3477df3"


def recorded(trace: Trace) -> Trace:
    """*trace* with the verdict that it has now."""
    return replace(trace, violates=broken(replay(trace)[1]))


def collision(geometry: str = "tiny", nr_before: int = 0) -> Trace:
    """A device mapped into the hole of an online section, without the fix.

    *nr_before* harmless steps come first.
    """
    sizes = GEOMETRIES[geometry]
    boot = LAYOUTS["collision"](sizes)
    hole = boot.ram[-1][0].end_pfn
    free = boot.window[-1]
    steps: list[Op] = [RequestMemRegion(free), ReleaseMemRegion(free)] * (nr_before // 2)
    device = PfnRange(hole, hole + sizes.pages_per_subsection)
    steps.append(MemremapPages(0, (device,), "generic", 0, ()))
    return recorded(Trace(geometry=geometry, boot=boot, changes=(COLLISION,), events=tuple(steps)))


def crowded() -> Trace:
    """Every section of x86-64 in use, in small pieces, before the collision."""
    trace = collision("x86_64")
    size = GEOMETRIES["x86_64"].pages_per_subsection
    pieces = [
        MemremapPages(i, tuple(PfnRange(s, s + size) for s in starts), "generic", 0, ())
        for i, starts in enumerate(
            [[w.start_pfn + (2 * i + 1) * size for w in trace.boot.window[2:]] for i in range(1, 4)]
        )
    ]
    (collide,) = trace.events
    assert isinstance(collide, MemremapPages)
    return recorded(replace(trace, events=(*pieces, replace(collide, pgmap_id=3))))


def suspicion_of(trace: Trace) -> Suspicion:
    return Suspicion(trace, bug_of(replay(trace)[1]))


def of_change(change: str, *events: Op, boot: str = "collision") -> Trace:
    """A counterexample on mainline with a change."""
    layout = LAYOUTS[boot](GEOMETRIES["tiny"])
    trace = recorded(Trace(geometry="tiny", boot=layout, changes=(change,), events=events))
    assert trace.says(*replay(trace))
    return trace
