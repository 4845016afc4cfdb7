"""What users of PageReserved() decided wrongly before seed 000, and some still do."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import PageState
from hotplug_model.users.user import USERS, among, mistaken

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


def worse_than_before(x: Extents) -> ExtentMask:
    """Rows of which a user that is handed a page decides wrongly, and did not in 2019."""
    rows = np.zeros(len(x.start_pfn), bool)
    for of in USERS:
        form = of.form(x.kernel.rules) if of.visits is None else None
        if form is not None:
            known = among(x, WRONG_BEFORE.get(of.key, frozenset()))
            rows |= mistaken(x, of, form) & ~known
    return rows
