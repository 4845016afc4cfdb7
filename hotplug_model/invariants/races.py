"""Operations in flight together: what none of them does alone."""

from __future__ import annotations

from hotplug_model.extents import Extents
from hotplug_model.invariants.invariant import broken, law
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law


@law(Law.CYCLE_OF_WAITS, reads="ledger")
def nobody_waits_for_ever(x: Extents) -> list[PfnRange]:
    """Operations wait for one another in a circle.

    Source: device_online(), add_memory_resource(); "Locking Internals" in
    Documentation/core-api/memory-hotplug.rst.
    """
    return broken(x, Law.CYCLE_OF_WAITS)
