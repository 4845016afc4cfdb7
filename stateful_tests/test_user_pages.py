"""Pages that vfio, KVM and gasket keep: taken with a reference or without, given back."""

from __future__ import annotations

import errno

import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker
from hotplug_model.errors import UserError
from hotplug_model.explore.way_back import way_back
from hotplug_model.flags import PageFlag, PageUser
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import init_page_count
from hotplug_model.ops import Op
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages, held_pages
from hotplug_model.ops.user_pages import PinUserPages, UnpinUserPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.ops.xen_balloon import DecreaseReservation, IncreaseReservation
from hotplug_model.pfn import PfnRange
from hotplug_model.users.pinners import PINNERS
from hotplug_model.walkers.walker import page_offline
from stateful_tests.kernels import C, add, boot, device, do, offline, online, pages

PAGE = pages(16, 17)
READY = (add(C), online(2))
LENT = (VirtioMemProbe(C, 0, 2, force_bbm=False), VirtioMemRequest(8), online(2))
COUNTS = "pages_count_the_references_on_them"
OUTLIVES = "pages_outlive_the_references_on_them"
BELONGS = "online_pages_belong_to_somebody"


def pin(user: str, pfnmap: bool = False) -> Op:
    return PinUserPages(user, PAGE, pfnmap)


def unpin(user: str) -> Op:
    return UnpinUserPages(user, PAGE)


def kernel_with(*changes: str, release: str | None = None, of: str = "collision") -> Kernel:
    return boot(of, rules=KernelVariant.named(release, changes).rules())


def told(kernel: Kernel) -> dict[str, str | None]:
    """What is wrong now, and which known defect it is put down to."""
    return {each.invariant: each.defect for each in Checker(kernel).look(QUIESCENT)}


def refcount(kernel: Kernel) -> int:
    return kernel.pfns.at(16, "refcount")


# Balance


@pytest.mark.parametrize("user", PINNERS)
def test_a_page_of_ram_counts_what_it_did_before_it_was_pinned(user: str) -> None:
    kernel = kernel_with(release="5.4")
    assert do(kernel, *READY) is None
    state = kernel.fingerprint()
    assert do(kernel, pin(user)) is None
    assert refcount(kernel) == 1
    assert do(kernel, offline(2)) == errno.EINTR
    assert do(kernel, unpin(user)) is None
    assert kernel.fingerprint() == state


def test_several_users_of_a_page_have_a_reference_each() -> None:
    kernel = kernel_with(release="5.4")
    assert do(kernel, *READY, PinPages(PAGE), *map(pin, PINNERS)) is None
    assert refcount(kernel) == 4
    assert COUNTS not in told(kernel)
    assert do(kernel, unpin("kvm"), UnpinPages(PAGE)) is None
    assert refcount(kernel) == 2
    assert COUNTS not in told(kernel)


@pytest.mark.parametrize(
    ("taken", "given", "lost"),
    [
        ((*READY, DecreaseReservation(PAGE)), IncreaseReservation(PAGE), True),
        ((*LENT, VirtioMemRequest(6)), VirtioMemRequest(8), False),
        ((VirtioMemProbe(C, 0, 2, force_bbm=False), VirtioMemRequest(6), online(2)),
         VirtioMemRequest(8), True),
    ],
    ids=["balloon", "unplugged", "never plugged"],
)  # fmt: skip
def test_a_count_that_is_set_anew_forgets_kvm(
    taken: tuple[Op, ...], given: Op, lost: bool
) -> None:
    """Xen's balloon and onlining set it anew; what virtio-mem had taken it just lets go of."""
    kernel = kernel_with("kvm-keeps-the-page")
    assert do(kernel, *taken) is None
    x = kernel.extents()
    page = PfnRange(first := x.where(page_offline(x))[-1].end_pfn - 1, first + 1)
    assert do(kernel, PinUserPages("kvm", page, pfnmap=True)) is None
    assert kernel.pfns.at(page.start_pfn, "refcount") == 2
    assert told(kernel) == {}
    assert do(kernel, given) is None
    assert kernel.pfns.at(page.start_pfn, "refcount") == (0 if lost else 1)
    assert told(kernel) == ({COUNTS: "a-page-is-freed-under-kvm"} if lost else {})
    assert do(kernel, UnpinUserPages("kvm", page)) is None
    assert kernel.pfns.at(page.start_pfn, "refcount") == (-1 if lost else 0)
    assert told(kernel) == ({COUNTS: "a-page-is-freed-under-kvm"} if lost else {})


@pytest.mark.parametrize("off_by", [-1, 1])
def test_what_no_user_did_to_a_device_page_is_no_known_defect(off_by: int) -> None:
    kernel = kernel_with()
    assert do(kernel, device(C)) is None
    kernel.pfns.add(PAGE, "refcount", off_by)
    assert told(kernel) == {COUNTS: None}


def test_a_reference_too_many_or_too_few_is_noticed() -> None:
    for wrong in (0, 2):
        kernel = boot()
        assert do(kernel, *READY, pin("vfio")) is None
        kernel.pfns.write(PAGE, refcount=wrong)
        assert COUNTS in told(kernel)


@pytest.mark.parametrize("user", PINNERS)
def test_of_a_count_that_is_set_anew_only_kvm_s_reference_is_a_known_defect(user: str) -> None:
    kernel = kernel_with(release="5.4")
    assert do(kernel, *READY, pin(user)) is None
    init_page_count(kernel, PAGE)
    assert told(kernel)[COUNTS] == ("a-page-is-freed-under-kvm" if user == "kvm" else None)


KNOWN: dict[str, str | None] = {COUNTS: "device-dax-keeps-its-pins"}
AFTER_5_4 = ("kvm-keeps-the-page", "8e1c69149f27")


@pytest.mark.parametrize(
    ("user", "kind", "changes", "leak"),
    [
        ("vfio", "generic", ("seed000-before",), KNOWN),
        ("vfio", "generic", ("seed000",), KNOWN),
        ("vfio", "generic", ("seed000-without-vfio",), {}),
        ("kvm", "fs_dax", ("seed000-before",), {COUNTS: None}),
        ("kvm", "fs_dax", (*AFTER_5_4, "a78986aae9b2"), {COUNTS: None}),
        ("kvm", "fs_dax", AFTER_5_4, {}),
        ("kvm", "fs_dax", AFTER_5_4[:1], {}),
        ("kvm", "fs_dax", ("seed000",), KNOWN),
        ("kvm", "fs_dax", ("seed000-without-kvm",), {}),
        ("gasket", "fs_dax", ("seed000-before",), {}),
        ("gasket", "fs_dax", ("seed000",), {}),
    ],
)
def test_what_is_left_of_a_pin_on_a_device(
    user: str, kind: str, changes: tuple[str, ...], leak: dict[str, str | None]
) -> None:
    kernel = kernel_with(*changes)
    assert do(kernel, device(C, kind=kind)) is None
    idle = refcount(kernel)
    assert do(kernel, pin(user)) is None
    assert refcount(kernel) == idle + 1
    assert do(kernel, unpin(user)) is None
    assert refcount(kernel) == idle + len(leak)
    assert {name: of for name, of in told(kernel).items() if name == COUNTS} == leak


@pytest.mark.parametrize(
    ("user", "patch"), [("vfio", "vfio"), ("kvm", "kvm"), ("gasket", "gasket")]
)
def test_without_its_patch_a_user_dirties_device_pages(user: str, patch: str) -> None:
    for change, dirty in (("seed000", False), (f"seed000-without-{patch}", True)):
        kernel = kernel_with(change)
        assert do(kernel, device(C), pin(user), unpin(user)) is None
        assert bool(kernel.pfns.at(16, "page_flags") & PageFlag.PG_dirty) == dirty
        assert ("nobody_dirties_device_pages" in told(kernel)) == dirty


# By pfn


def test_a_pfn_without_a_page_is_taken_and_given_back_without_a_reference() -> None:
    kernel = boot()
    state = kernel.fingerprint()
    assert do(kernel, pin("vfio", pfnmap=True)) is None
    assert kernel.pfns.at(16, "users") == PageUser.VFIO_PFN
    assert do(kernel, pin("vfio", pfnmap=True)) == errno.EEXIST
    assert do(kernel, unpin("vfio")) is None
    assert kernel.fingerprint() == state


def test_vfio_refuses_the_pfn_of_a_page_and_kvm_takes_a_reference() -> None:
    kernel = kernel_with(release="6.12")
    assert do(kernel, *READY) is None
    assert do(kernel, pin("vfio", pfnmap=True)) == errno.EFAULT
    assert do(kernel, pin("kvm", pfnmap=True)) is None
    assert (refcount(kernel), kernel.pfns.at(16, "users")) == (1, PageUser.KVM)
    assert do(kernel, unpin("kvm")) is None
    assert refcount(kernel) == 0


def test_memory_that_comes_online_under_a_pfn_loses_a_reference_that_nobody_took() -> None:
    kernel = boot()
    assert do(kernel, pin("vfio", pfnmap=True), *READY, unpin("vfio")) is None
    assert refcount(kernel) == -1
    assert told(kernel) == {COUNTS: "a-pfn-becomes-a-page"}


def test_the_page_of_another_goes_offline_once_its_reference_is_dropped() -> None:
    kernel = boot()
    assert do(kernel, pin("vfio", pfnmap=True), *READY, PinPages(PAGE)) is None
    assert do(kernel, offline(2)) == errno.EBUSY
    assert do(kernel, unpin("vfio"), offline(2)) is None
    assert told(kernel) == dict.fromkeys((COUNTS, OUTLIVES), "a-pfn-becomes-a-page")


def test_a_balloon_loses_its_page_to_who_had_the_pfn_before() -> None:
    kernel = kernel_with(of="xen")
    assert do(kernel, pin("vfio", pfnmap=True), *READY, unpin("vfio")) is None
    assert refcount(kernel) == 0
    assert told(kernel) == dict.fromkeys((BELONGS, COUNTS), "a-pfn-becomes-a-page")


def test_gasket_takes_no_pfn_without_a_page() -> None:
    assert do(kernel_with(release="5.4"), pin("gasket", pfnmap=True)) == errno.EFAULT


# What is refused


@pytest.mark.parametrize(
    ("before", "err"),
    [((), errno.EFAULT), ((device(C, kind="fs_dax"),), errno.EOPNOTSUPP),
     ((device(C, kind="coherent"),), errno.EFAULT), ((add(C),), errno.EFAULT)],
)  # fmt: skip
def test_vfio_pins_online_ram_and_device_dax(before: tuple[Op, ...], err: int) -> None:
    kernel = boot()
    assert do(kernel, *before) is None
    assert do(kernel, pin("vfio")) == err


def test_a_user_that_the_kernel_lacks_is_none_and_one_that_nobody_knows_is_a_mistake() -> None:
    assert do(boot(), PinUserPages("gasket", pages(0, 1))) == errno.ENODEV
    for kind in (PinUserPages, UnpinUserPages):
        with pytest.raises(UserError, match="vfio"):
            kind("vfi0", PAGE)


# Memory that goes


def test_a_map_that_ends_takes_the_references_on_its_pages_along() -> None:
    kernel = boot()
    assert do(kernel, device(C), pin("vfio"), MemunmapPages(0)) is None
    assert kernel.pfns.at(16, "users") == PageUser.VFIO_PFN
    wrong = {"pages_outlive_the_references_on_them": "a-device-goes-while-its-pages-are-held"}
    assert told(kernel) == wrong
    assert do(kernel, device(C), unpin("vfio")) is None
    assert (refcount(kernel), told(kernel)) == (1, wrong)


def test_a_pinned_page_that_broke_goes_offline_with_its_block() -> None:
    kernel = boot()
    ops = (*READY, PinPages(PAGE), pin("vfio"), HardOfflinePage(16), offline(2))
    assert do(kernel, *ops) is None
    skipped = "offlining-skips-a-broken-page-that-is-held"
    assert told(kernel) == {"pages_outlive_the_references_on_them": skipped}
    assert held_pages(kernel) == []


def test_a_page_that_goes_offline_under_a_pin_is_no_known_defect() -> None:
    kernel = boot()
    assert do(kernel, *READY, pin("vfio")) is None
    kernel.pfns.write(PAGE, refcount=0)
    assert do(kernel, offline(2)) is None
    assert told(kernel) == {"pages_outlive_the_references_on_them": None}


def test_what_users_have_is_given_back_on_the_way_back() -> None:
    booted = boot()
    kernel = booted.snapshot()
    assert do(kernel, *READY, pin("vfio")) is None
    way = way_back(kernel, booted)
    assert way.ops[0].op_name() == "unpin_user_pages"
    assert (len(way.ops), way.left) == (3, ())
