"""The iomem tree: who may claim what, and what is cut out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import SYSTEM_RAM, Resource
from stateful_tests.kernels import pages

FIRMWARE = pages(16, 48)
RAM = pages(0, 16)


def tree() -> Resource:
    """RAM, and a firmware region that is not busy."""
    root = Resource("iomem", pages(0, 64), busy=False)
    assert root.request(Resource(SYSTEM_RAM, RAM))
    assert root.request(Resource("Persistent Memory", FIRMWARE, busy=False))
    return root


def claim(root: Resource, start: int, end: int) -> bool:
    return root.request(Resource("driver", pages(start, end)))


def names(root: Resource) -> list[str]:
    return [child.name for child in root.children]


@pytest.mark.parametrize(
    ("pfns", "granted"),
    [
        (pages(48, 64), True),
        (pages(16, 20), True),
        (pages(16, 48), True),
        (pages(0, 4), False),
        (pages(12, 20), False),
        (pages(44, 52), False),
        (pages(12, 52), False),
        (pages(60, 68), False),
    ],
    ids=[
        "free", "inside a firmware region", "all of a firmware region", "inside a busy region",
        "across a busy region", "across a firmware region's end", "around a firmware region",
        "beyond the end",
    ],
)  # fmt: skip
def test_a_region_is_granted_where_nothing_busy_or_partial_is(
    pfns: PfnRange, granted: bool
) -> None:
    root = tree()
    before = root.copy()
    assert root.request(Resource("driver", pfns)) == granted
    assert (root == before) != granted


def test_a_region_goes_below_the_firmware_region_that_holds_it() -> None:
    root = tree()
    assert claim(root, 20, 24)
    assert names(root) == [SYSTEM_RAM, "Persistent Memory"]
    assert names(root.children[1]) == ["driver"]


def test_siblings_below_a_firmware_region_conflict() -> None:
    root = tree()
    assert claim(root, 20, 24)
    assert not claim(root, 22, 26)
    assert claim(root, 24, 28)


def test_children_are_in_order() -> None:
    root = tree()
    assert claim(root, 56, 60)
    assert claim(root, 48, 52)
    assert [child.pfns.start_pfn for child in root.children] == [0, 16, 48, 56]


def test_exactly_a_busy_region_is_released() -> None:
    root = tree()
    claim(root, 20, 24)
    assert not root.release(pages(20, 22))
    assert root.release(pages(20, 24))
    assert root == tree()


def test_a_firmware_region_is_not_released() -> None:
    root = tree()
    assert not root.release(FIRMWARE)
    assert root == tree()


@pytest.mark.parametrize(
    ("cut", "rest"),
    [
        (pages(0, 16), []),
        (pages(0, 4), [pages(4, 16)]),
        (pages(12, 16), [pages(0, 12)]),
        (pages(4, 8), [pages(0, 4), pages(8, 16)]),
    ],
    ids=["all", "its start", "its end", "its middle"],
)
def test_an_adjustable_release_cuts(cut: PfnRange, rest: list[PfnRange]) -> None:
    root = tree()
    assert root.release_adjustable(cut)
    assert root.named(SYSTEM_RAM) == rest
    assert root.children[-1].pfns == FIRMWARE


def test_an_adjustable_release_reaches_below_firmware_regions() -> None:
    root = tree()
    claim(root, 20, 28)
    assert root.release_adjustable(pages(22, 24))
    assert root.named("driver") == [pages(20, 22), pages(24, 28)]


@pytest.mark.parametrize("pfns", [pages(12, 20), pages(48, 52), pages(16, 20)], ids=str)
def test_an_adjustable_release_of_what_no_region_holds_changes_nothing(pfns: PfnRange) -> None:
    root = tree()
    assert not root.release_adjustable(pfns)
    assert root == tree()


def test_system_ram_is_counted_by_pages() -> None:
    root = tree()
    assert root.system_ram(pages(12, 20)) == 4
    assert root.system_ram(FIRMWARE) == 0


def test_touching_regions_are_merged_by_name() -> None:
    root = tree()
    claim(root, 48, 52)
    claim(root, 52, 56)
    claim(root, 60, 64)
    assert root.merged("driver") == (pages(48, 56), pages(60, 64))


@pytest.mark.parametrize("busy", [True, False])
def test_the_root_is_found_by_its_name_too(busy: bool) -> None:
    assert Resource("iomem", RAM, busy).named("iomem") == [RAM]


regions = st.tuples(st.integers(0, 63), st.integers(1, 8)).map(
    lambda each: pages(each[0], min(64, each[0] + each[1]))
)


@given(st.lists(regions, max_size=12))
def test_busy_regions_never_overlap(wanted: list[PfnRange]) -> None:
    root = tree()
    owner: dict[int, int] = dict.fromkeys(range(16), -1)
    for index, pfns in enumerate(wanted):
        taken = {pfn for pfn in owner if pfn in pfns}
        partial = pfns.overlaps(FIRMWARE) and not FIRMWARE.contains(pfns)
        granted = root.request(Resource("driver", pfns))
        assert granted == (not taken and not partial)
        if granted:
            owner |= dict.fromkeys(range(pfns.start_pfn, pfns.end_pfn), index)


@given(st.lists(regions, max_size=6))
def test_releasing_everything_in_any_order_gives_the_first_tree_back(
    wanted: list[PfnRange],
) -> None:
    root = tree()
    granted = [pfns for pfns in wanted if root.request(Resource("driver", pfns))]
    for pfns in granted:
        assert root.release(pfns)
    assert root == tree()


def test_a_copy_is_independent() -> None:
    root = tree()
    claim(root, 20, 24)
    twin = root.copy()
    assert twin == root
    twin.release(pages(20, 24))
    assert root.named("driver") == [pages(20, 24)]


def test_every_field_of_a_region_is_in_the_numbers() -> None:
    def numbers(name: str = "driver", end: int = 24, busy: bool = True) -> tuple[int, ...]:
        root = tree()
        assert root.request(Resource(name, pages(20, end), busy))
        return tuple(root.numbers())

    nested, flat = tree(), tree()
    nested.children[1].children.append(Resource("driver", pages(48, 52)))
    flat.children.append(Resource("driver", pages(48, 52)))
    every = {numbers(), numbers("other"), numbers(end=22), numbers(busy=False)}
    every |= {tuple(nested.numbers()), tuple(flat.numbers()), tuple(tree().numbers())}
    assert len(every) == 7


@pytest.mark.parametrize("how", ["release_resource", "remove_resource"])
def test_what_lies_below_a_region_goes_with_it_or_moves_up(how: str) -> None:
    root = tree()
    assert root.request(Resource("dax", pages(16, 32), busy=False))
    assert claim(root, 20, 24)
    assert getattr(root, how)(pages(16, 32))
    assert root.named("dax") == []
    stays = how == "remove_resource"
    assert root.named("driver") == ([pages(20, 24)] if stays else [])
    assert claim(root, 22, 26) != stays
    assert not getattr(root, how)(pages(16, 32))
