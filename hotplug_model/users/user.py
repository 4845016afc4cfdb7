"""Declaring users of PageReserved(): what they decide, about which pages, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import MemoryType
from hotplug_model.page_state import TRUTHS, Decision, PageState, page_states
from hotplug_model.registry import Registry
from hotplug_model.rules import KernelRules
from hotplug_model.walkers.walker import Scan, Walker, page_reserved

BEFORE = "reserved"
"""The form that every user had when seed 000 was posted."""
ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way in which a kernel decides, as two questions about extents."""

    says: Scan
    """Rows of which it decides yes."""
    reads: Scan
    """Rows whose struct page it reads to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One decision of one kernel function."""

    name: str
    """The kernel function's."""
    file: str
    """The kernel source file it is in, or was."""
    decides: Decision
    reach: frozenset[PageState]
    """States in which it may be asked about a page."""
    why: str
    """Why just about these."""
    thread: str
    """What the cover letter of seed 000 says of it."""
    forms: Mapping[str, Form]
    """By the value of the rule that selects one; a value without a form: it is gone."""
    rule: str | None
    """The field of KernelRules; None: it never changed."""
    visits: Scan | None
    """Rows that it comes to, if it looks for them itself; None: those it is handed."""
    harmless: frozenset[PageState]
    """States of which its answer does no harm, for a reason in :attr:`why`."""
    doc: str

    @property
    def key(self) -> str:
        """What it is registered as: a function may decide several things."""
        return f"{self.name}/{self.decides.value}"

    def selected(self, rules: KernelRules) -> str:
        """Name of the form that a kernel has."""
        return str(getattr(rules, self.rule)) if self.rule else BEFORE

    def form(self, rules: KernelRules) -> Form | None:
        """How a kernel decides; None if it does not any more."""
        return self.forms.get(self.selected(rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class Irrelevant:
    """A user that the audit need not ask, and why."""

    name: str
    file: str
    why: str


USERS: Registry[User] = Registry("user of PageReserved()")
IRRELEVANT: Registry[Irrelevant] = Registry("irrelevant user of PageReserved()")


def user(
    file: str, *, decides: Decision, reach: Iterable[PageState], why: str, thread: str = "",
    reads: Scan | None = None, rule: str | None = None,
    forms: Mapping[str, Form] | None = None, visits: Scan | None = None,
    harmless: Iterable[PageState] = (), name: str | None = None,
) -> Callable[[Scan], Scan]:  # fmt: skip
    """Register the decorated function, which says yes or no as it did before seed 000.

    Without *reads* it reads the struct page of whatever pfn_valid() grants.
    """

    def register(says: Scan) -> Scan:
        before = Form(says=says, reads=reads or (lambda x: x.pfn_valid))
        added = User(
            name=name or says.__name__, file=file, decides=decides, reach=frozenset(reach),
            why=why, thread=thread, forms={BEFORE: before, **(forms or {})}, rule=rule,
            visits=visits, harmless=frozenset(harmless), doc=cleandoc(says.__doc__ or ""),
        )  # fmt: skip
        USERS.add(added.key, added)
        return says

    return register


def scanning(
    walker: Walker, *, decides: Decision, why: str, thread: str,
    harmless: Iterable[PageState] = (),
) -> None:  # fmt: skip
    """Register a pfn walker, which decides about the pages that it takes."""
    user(
        walker.file, name=walker.name, decides=decides, reach=PageState, why=why,
        thread=thread, reads=walker.reads, visits=walker.reads, harmless=harmless,
    )(walker.takes)  # fmt: skip


def irrelevant(file: str, why: str, *names: str) -> None:
    """Register users of a file that need no decision about any page of the audit."""
    for name in names:
        IRRELEVANT.add(f"{file}:{name}", Irrelevant(name=name, file=file, why=why))


# What a decision is worth


def asked(x: Extents, of: User, but: frozenset[PageState] = frozenset()) -> ExtentMask:
    """Rows that the user comes to, in a state in which it may, *but* not in one of some."""
    rows = among(x, of.reach - but)
    return rows if of.visits is None else rows & of.visits(x)


def blind(x: Extents, of: User, form: Form) -> ExtentMask:
    """Rows of which it reads a struct page that the page's owner did not write."""
    return asked(x, of) & form.reads(x) & ~described(x)


def mistaken(x: Extents, of: User, form: Form) -> ExtentMask:
    """Rows of which it decides wrongly, and not because it is blind."""
    judged = asked(x, of, but=of.harmless | EITHER[of.decides])
    if not judged.any():
        return judged
    right = form.says(x) == among(x, YES[of.decides])
    wrong: ExtentMask = judged & ~(right & ~among(x, NEITHER[of.decides]))
    return wrong & ~(form.reads(x) & ~described(x))


def described(x: Extents) -> ExtentMask:
    """Rows whose struct page says what the page is: of RAM that is offline only where adding or
    offlining it left PG_reserved, as until v5.5; else it says what is no longer true, or not yet.
    """

    def compute() -> ExtentMask:
        return x.initialised & (page_reserved(x) | ~among(x, OFFLINE_RAM))

    return x.remember("described", compute)


def among(x: Extents, states: frozenset[PageState]) -> ExtentMask:
    """Rows in one of *states*."""

    def compute() -> ExtentMask:
        rows: ExtentMask = table_of(states)[page_states(x)]
        return rows

    return x.remember(("among", states), compute)


@cache
def table_of(states: frozenset[PageState]) -> NDArray[np.bool_]:
    """Of each state whether it is one of *states*."""
    table = np.zeros(len(PageState), bool)
    table[list(states)] = True
    return table


OFFLINE_RAM = frozenset(
    {PageState.NEVER_ONLINED, PageState.WAS_ONLINE, PageState.OFFLINE_POISONED}
)
YES = {
    decision: frozenset(state for state, truth in TRUTHS.items() if decision in truth.yes)
    for decision in Decision
}
EITHER = {
    decision: frozenset(state for state, truth in TRUTHS.items() if decision in truth.either)
    for decision in Decision
}
NEITHER = {
    decision: frozenset(state for state, truth in TRUTHS.items() if decision in truth.neither)
    for decision in Decision
}


# Ways to decide, and reasons to be asked, that several users share


def valid_and_unreserved(x: Extents) -> ExtentMask:
    """``pfn_valid(pfn) && !PageReserved(pfn_to_page(pfn))``."""
    return x.pfn_valid & ~page_reserved(x)


def online_and_unreserved(x: Extents) -> ExtentMask:
    """``page && !PageReserved(page)`` of ``page = pfn_to_online_page(pfn)``."""
    return x.online_page & ~page_reserved(x)


ASKS_ONLINE = Form(says=online_and_unreserved, reads=lambda x: x.online_page)
"""As seed 000 wants it of whoever asked pfn_valid().

Source: patches 4, 5 and 8 to 11 of the RFC, 3 to 8 of "[PATCH v1 00/10] mm: Don't mark
hotplugged pages PG_reserved (including ZONE_DEVICE)", linux-kernel, October 2019,
<20191024120938.11237-1-david@redhat.com>.
"""


def is_zone_device_page(x: Extents) -> ExtentMask:
    """``is_zone_device_page()``: what the struct page says of its zone."""
    return x.is_zone_device


def unreserved(x: Extents) -> ExtentMask:
    """``!PageReserved(page)``."""
    return ~page_reserved(x)


def unreserved_and_no_device(x: Extents) -> ExtentMask:
    """``!PageReserved(page) && !is_zone_device_page(page)``."""
    return unreserved(x) & ~is_zone_device_page(x)


def everything(x: Extents) -> ExtentMask:
    """It has a struct page, and reads it."""
    return x.mapped


def not_in_an_altmap_that_is_passed(x: Extents) -> ExtentMask:
    """All but the altmaps of maps that memunmap_pages() passes when it removes pages."""
    private = MemoryType.MEMORY_DEVICE_PRIVATE
    passed = [i for i, pgmap in x.kernel.pgmaps.items() if pgmap.type != private]
    rows: ExtentMask = ~np.isin(x.pgmap_array, passed)
    return rows


NOT_DEVICE = Form(says=unreserved_and_no_device, reads=everything)
"""As seed 000 wants it of whoever has a struct page.

Source: patches 6 and 7 of "[PATCH RFC v1 00/12] mm: Don't mark hotplugged pages PG_reserved
(including ZONE_DEVICE)", linux-kernel, October 2019,
<20191022171239.21487-1-david@redhat.com>; v1 left them out.
"""
MAPPED_BY_ANYBODY = frozenset(PageState) - {PageState.PRIVATE}
MAPPED_ON_POWERPC = MAPPED_BY_ANYBODY - {PageState.WITHHELD}
"""Neither Xen nor Hyper-V runs there."""
DEV_MEM = (
    "The pfn comes from a page table, and /dev/mem maps any of them without "
    "CONFIG_STRICT_DEVMEM; device-private memory has no address that a CPU could map."
)
GUP = frozenset({PageState.ONLINE, PageState.COHERENT, PageState.FS_DAX, PageState.GENERIC})
PINNED = "It holds a page that get_user_pages() gave it, which refuses what /dev/mem maps."
ALLOCATED = frozenset({PageState.ONLINE, PageState.BOOT_RESERVED})
NORMAL = ALLOCATED
VM_NORMAL_PAGE = (
    "vm_normal_page() has returned it, which knows neither /dev/mem nor pte_devmap(); since "
    "6.0, when device-coherent pages became normal ones, ZONE_DEVICE is told apart first."
)
