""""mm: pass the vmem_altmap to vmemmap_free" (in v4.16).

Its id could not be confirmed. The release is inferred: it was merged in February 2018.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "altmap-as-argument",
    "mm: pass the vmem_altmap to vmemmap_free",
    since=(4, 16),
)
def look_the_altmap_up(rules: KernelRules) -> KernelRules:
    """The altmap to give a page back to is that of the map which the page is found in."""
    return replace(rules, altmap_is_passed=False)
