"""What the core of memory hotplug calls of drivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotplug_model.flags import NotifierAction
from hotplug_model.pfn import PfnRange

if TYPE_CHECKING:
    from hotplug_model.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the core calls of the driver that lends memory; functions of mm/."""

    online_page: Callable[[Kernel, PfnRange], None] | None = None
    """``online_page_callback``; None for generic_online_page()."""
    memory_notifier: Callable[[Kernel, NotifierAction, PfnRange], None] | None = None
