"""Users of PageReserved() decide rightly, whatever the flag says."""

from __future__ import annotations

from hotplug_model.extents import Extents
from hotplug_model.invariants.invariant import law
from hotplug_model.pfn import PfnRange
from hotplug_model.users.wrong_before import worse_than_before


@law(reads="pfns iomem pgmaps locks", quiescent=True)
def users_decide_as_rightly_as_they_did(x: Extents) -> list[PfnRange]:
    """A user of PageReserved() decides wrongly about a page that it was right about.

    Users that look for pages themselves are pfn walkers, and judged as such. What was wrong
    before seed 000 is known, and not asked for here: ``hotplug-model audit`` shows it.

    Source: the users of PageReserved(), see ``hotplug_model.users``; "[PATCH RFC v1 00/12]
    mm: Don't mark hotplugged pages PG_reserved (including ZONE_DEVICE)", linux-kernel,
    October 2019.
    """
    return list(x.where(worse_than_before(x)))
