"""fs/proc/page.c: /proc/kpageflags."""

from __future__ import annotations

from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import user
from hotplug_model.walkers import WALKERS

READ = WALKERS["kpageflags_read"].reads

user(
    "fs/proc/page.c", name="stable_page_flags", decides=Decision.SHOWN, reach=PageState,
    why="It is asked about every pfn for which pfn_to_online_page() returns a page.",
    thread="should be fine: the reserved bit is simply copied", reads=READ, visits=READ,
)(READ)  # fmt: skip
