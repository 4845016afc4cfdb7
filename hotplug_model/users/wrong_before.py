"""What users of PageReserved() decided wrongly before seed 000, and some still do."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag
from hotplug_model.page_state import PageState
from hotplug_model.rules import KernelRules
from hotplug_model.users.user import USERS, among, mistaken

NONE: frozenset[PageState] = frozenset()
DAX = frozenset({PageState.FS_DAX, PageState.GENERIC})
FAKE = frozenset({PageState.FAKE_OFFLINE})
WRONG_BEFORE: dict[str, frozenset[PageState]] = {
    "is_invalid_reserved_pfn/refcounted": frozenset({PageState.GENERIC}),
    "kvm_is_reserved_pfn/refcounted": DAX | {PageState.ALTMAP_FREE},
    "kvm_is_reserved_pfn/dirtied": FAKE,
    "kvmppc_book3s_instantiate_page/refcounted": DAX,
    "kvmppc_book3s_instantiate_page/dirtied": FAKE,
    "__ioremap_check_ram/remapped": frozenset({PageState.SELF_HOSTED}),
}
"""User and decision -> of pages in which states. KVM, book3s and vfio never dropped references
on reserved pages that get_user_pages() had taken; since commit a78986aae9b2 (in v5.4) KVM
counts device pages, those of an altmap too. Both set PG_dirty on whatever is not reserved. Where a
block's own memmap is reserved, as all of it was before 6.11, drivers may map it once more."""
WRONG_UNMARKED: dict[str, frozenset[PageState]] = {
    "kvm_is_reserved_pfn/dirtied": frozenset({PageState.WITHHELD}),
}
"""The same, where memory that goes online is PageOffline instead of reserved: since commit
503b158fc30f (in v6.11), and until KVM asked no more (in v6.13), what Xen's and Hyper-V's
balloons keep back is set PG_dirty as well."""


def wrong_before(rules: KernelRules) -> dict[str, frozenset[PageState]]:
    """What a kernel is known to decide wrongly."""
    if rules.hotplugged_ram_flag != PageFlag.PG_offline:
        return WRONG_BEFORE
    return {key: states | WRONG_UNMARKED.get(key, NONE) for key, states in WRONG_BEFORE.items()}


def worse_than_before(x: Extents) -> ExtentMask:
    """Rows of which a user that is handed a page decides wrongly, and did not in 2019."""
    rows = np.zeros(len(x.start_pfn), bool)
    known_of = wrong_before(x.kernel.rules)
    for of in USERS:
        form = of.form(x.kernel.rules) if of.visits is None else None
        if form is not None:
            known = among(x, known_of.get(of.key, NONE))
            rows |= mistaken(x, of, form) & ~known
    return rows
