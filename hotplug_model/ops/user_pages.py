"""Pages that a device or a guest may write for as long as it likes: taken and given back."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.ops.draw import pick, rarely
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.page_state import PageState, page_states
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import unknown
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.steps import Steps
from hotplug_model.users.pinners import PINNERS, Pinner
from hotplug_model.users.user import among

MAX_USED = 2


def must_be_known(user: str) -> None:
    """Refuse the name of no user."""
    if user not in PINNERS:
        raise UserError(unknown("user", user, PINNERS))


def pinners(kernel: Kernel) -> list[str]:
    """Users that the kernel has."""
    return [name for name, each in PINNERS.items() if each.exists(kernel.rules)]


def used_pages(kernel: Kernel) -> list[tuple[str, PfnRange]]:
    """What each user has: pages that are alike in one range."""
    x = kernel.extents()
    return [
        (name, pfns)
        for name, of in PINNERS.items()
        for pfns in x.where((x.users & int(of.bit | of.pfn_bit)) != 0)
    ]


@dataclass(frozen=True)
class PinUserPages(Op):
    """Let a user have a page, which get_user_pages() gives it with a reference, or, of what
    is mapped by its pfn only, as through /dev/mem, follow_pfn() without."""

    user: str
    pfns: PfnRange
    pfnmap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_known(self.user)

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether users have few pages yet."""
        return len(used_pages(kernel)) < MAX_USED

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The first page of a range that can be mapped; rarely, by its pfn, of any range."""
        x, user = kernel.extents(), pick(choose, pinners(kernel))
        rows = among(x, PINNERS[user].pins | {PageState.FS_DAX})
        pfnmap = rarely(choose, 4) or not rows.any()
        pfn = pick(choose, x.start_pfn[rows | pfnmap].tolist()[::-1])
        return cls(user, PfnRange(pfn, pfn + 1), pfnmap)

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -ENODEV on a kernel without the user, with -EEXIST if it has the page,
        and as taken_reference().

        # Simplified: a user maps a page once. What a long-term pin would move out of
        ZONE_MOVABLE is pinned where it is. No compound pages, whose heads are counted.

        Source: vaddr_get_pfns(), drivers/vfio/vfio_iommu_type1.c; hva_to_pfn(),
        virt/kvm/kvm_main.c (6.1); see ``hotplug_model.users.pinners``.
        """
        of = PINNERS[self.user]
        if not of.exists(kernel.rules):
            raise KernelRefusal(errno.ENODEV)
        x = kernel.extents()
        row = x.row_at(self.pfns.start_pfn)
        if x.users[row] & (of.bit | of.pfn_bit):
            raise KernelRefusal(errno.EEXIST)
        if self.taken_reference(x, row):
            kernel.pfns.add(self.pfns, "refcount", 1)
            kernel.pfns.set_bits(self.pfns, "users", of.bit)
        else:
            kernel.pfns.set_bits(self.pfns, "users", of.pfn_bit)
        yield "pin_user_pages"

    def taken_reference(self, x: Extents, row: int) -> bool:
        """Whether the user comes by a reference.

        Refuses with -EFAULT what it cannot reach, or what has a page that it ought to have
        pinned; with -EOPNOTSUPP a long-term pin on fs-dax.
        """
        of, state = PINNERS[self.user], PageState(int(page_states(x)[row]))
        if not self.pfnmap:
            if of.longterm and state == PageState.FS_DAX:
                raise KernelRefusal(errno.EOPNOTSUPP)
            if state not in of.pins:
                raise KernelRefusal(errno.EFAULT)
            return True
        counted = of.drops(x, row)
        if not of.follows or (counted and not of.refers):
            raise KernelRefusal(errno.EFAULT)
        return counted


@dataclass(frozen=True)
class UnpinUserPages(Op):
    """Let a user give a page back, written to: it decides now what there is to do."""

    weight: ClassVar[int] = 2
    user: str
    pfns: PfnRange

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_known(self.user)

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a user has a page."""
        return bool(used_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Anything that some user has."""
        return cls(*pick(choose, used_pages(kernel)))

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -EINVAL unless the user has all of the pages.

        # Simplified: PG_dirty of a page of the allocator, which loses it when it is freed,
        is not kept.

        Source: put_pfn(), drivers/vfio/vfio_iommu_type1.c; kvm_vcpu_unmap(),
        virt/kvm/kvm_main.c (6.1); gasket_release_page().
        """
        of = PINNERS[self.user]
        if not any(o == self.user and p.contains(self.pfns) for o, p in used_pages(kernel)):
            raise KernelRefusal(errno.EINVAL)
        for pfn in range(self.pfns.start_pfn, self.pfns.end_pfn):
            give_back(kernel, PfnRange(pfn, pfn + 1), of)
        yield "unpin_user_pages"


def give_back(kernel: Kernel, page: PfnRange, of: Pinner) -> None:
    """Do to a page what *of* decides of it as it is now."""
    x = kernel.extents()
    row = x.row_at(page.start_pfn)
    holds, drops = bool(x.users[row] & of.bit), of.drops(x, row) and bool(x.mapped[row])
    if of.dirties(x, row) and not x.is_managed[row]:
        kernel.pfns.set_bits(page, "page_flags", PageFlag.PG_dirty)
    if holds and not drops:
        known = x.is_zone_device[row] and of.keeps_to_this_day(kernel.rules)
        cause = Cause.NEVER_DROPPED if known else Cause.NONE
        kernel.ledger.breach(Law.MISCOUNTED, page, cause)
    if drops:
        kernel.pfns.add(page, "refcount", -1)
        if not holds:
            kernel.ledger.breach(Law.MISCOUNTED, page, Cause.NEVER_TAKEN)
    kernel.pfns.clear_bits(page, "users", of.bit | of.pfn_bit)
