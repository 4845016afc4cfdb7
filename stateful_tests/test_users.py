"""Users of PageReserved(): each is declared whole, decides, and can be found wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hotplug_model.audit import decisions
from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.changes.proposal_seed_000 import PATCHES, UNNOTICED
from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent, PageFlag, SectionFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.page_state import Decision, PageState, page_states
from hotplug_model.rules import KernelRules
from hotplug_model.users import IRRELEVANT, USERS, User
from hotplug_model.users.user import ABSENT, BEFORE, blind, mistaken
from stateful_tests.kernels import HOLE, busy, pages

every_user = pytest.mark.parametrize("of", USERS, ids=lambda of: of.key)
OF_THE_SEED = {
    "check_page_span", "kvm_is_mmio_pfn", "kvm_is_reserved_pfn", "is_invalid_reserved_pfn",
    "gasket_release_page", "transfer_complete_cb", "kvmppc_book3s_instantiate_page",
    "hash_page_do_lazy_icache", "maybe_pte_to_page", "__ioremap_check_ram",
    "pagetypeinfo_showmixedcount_print", "init_pages_in_zone", "free_page_ext",
    "has_unmovable_pages", "pfn_range_valid_contig", "queue_pages_pte_range",
    "hwpoison_user_mappings", "gather_bootmem_prealloc", "saveable_highmem_page",
    "saveable_page", "can_gather_numa_stats", "can_gather_numa_stats_pmd", "stable_page_flags",
    "release_firmware_map_entry", "vmemmap_free", "__text_poke", "free_pagetable",
    "hv_page_online_one", "xen_online_page",
}  # fmt: skip
FILES = {
    "arch/ia64/kernel/mca_drv.c", "arch/mips/mm/init.c", "arch/mips/mm/ioremap.c",
    "arch/nios2/mm/ioremap.c", "arch/parisc/mm/ioremap.c", "arch/sparc/mm/tlb.c",
    "arch/xtensa/mm/cache.c", "arch/x86/mm/init_64.c",
}  # fmt: skip


def variant(*changes: str, release: str | None = None) -> KernelRules:
    return KernelVariant.named(release, changes).rules()


def test_everything_that_the_seed_names_is_there() -> None:
    named = {of.name for of in USERS} | {each.name for each in IRRELEVANT}
    files = {of.file for of in USERS} | {each.file for each in IRRELEVANT}
    assert named >= OF_THE_SEED
    assert files >= FILES


@every_user
def test_a_user_says_why_it_is_asked_and_by_whom(of: User) -> None:
    assert of.reach
    assert of.why.endswith(".")
    assert of.thread.startswith(("patch ", "should be fine: "))
    assert of.harmless <= set(PageState)


@every_user
def test_every_value_of_a_rule_is_a_form_or_stands_for_none(of: User) -> None:
    if of.rule is None:
        assert set(of.forms) == {BEFORE}
        return
    assert of.selected(MAINLINE) in {*of.forms, ABSENT}
    patches = [patch for patch in PATCHES.values() if patch.rule == of.rule]
    assert [f"patch {patch.number}" for patch in patches] == [of.thread] * len(patches)
    assert all({patch.before, patch.wanted} <= set(of.forms) for patch in patches)
    asked = {of.selected(rules) for rules in (MAINLINE, *(c.rewrite(MAINLINE) for c in CHANGES))}
    assert set(of.forms) <= asked


def test_every_user_is_asked_about_states_within_its_reach_and_no_others() -> None:
    rules = variant("seed000-before")
    for of in USERS:
        asked_about = set(decisions(MAINLINE, of.key, of.selected(rules)))
        assert asked_about
        assert asked_about <= of.reach


def spoiled(of: User) -> Kernel:
    """A machine about which the user errs: the row at pfn 26 is what it is not."""
    kernel = busy()
    wrong: dict[Decision, dict[str, Any]] = {
        Decision.COPIED: {"page_flags": PageFlag.PG_reserved | PageFlag.MANAGED},
        Decision.REMAPPED: {"page_flags": PageFlag.PG_reserved | PageFlag.MANAGED},
        Decision.BOOTMEM: {"page_flags": PageFlag.PG_reserved | PageFlag.MANAGED},
        Decision.SAVED: {"page_flags": PageFlag.MANAGED, "content": PageContent.STALE},
    }
    reserved = {"page_flags": PageFlag.PG_reserved | PageFlag.MANAGED}
    kernel.pfns.write(pages(26, 28), **wrong.get(of.decides, reserved))
    kernel.pfns.merge()
    return kernel


RESERVED_BREAKS = [
    of for of in USERS
    if of.decides not in (Decision.MMIO, Decision.SAVED, Decision.SHOWN)
]  # fmt: skip


@pytest.mark.parametrize("of", RESERVED_BREAKS, ids=lambda of: of.key)
def test_a_wrong_flag_on_online_ram_makes_a_user_wrong(of: User) -> None:
    rules = variant("seed000-before")
    form = of.form(rules)
    assert form is not None
    for kernel, expected in ((busy(), False), (spoiled(of), True)):
        x = kernel.extents()
        online = page_states(x) == PageState.ONLINE
        assert bool((mistaken(x, of, form) & online).any()) == expected, expected


def test_kvm_takes_reserved_registers_for_memory_once_the_flag_is_gone() -> None:
    of = USERS["kvm_is_mmio_pfn/mmio"]
    form = of.forms[BEFORE]
    kernel = busy()
    kernel.pgmaps[0] = replace(kernel.pgmaps[0], type=5)  # type: ignore[arg-type]
    assert not mistaken(kernel.extents(), of, form).any()
    kernel.pfns.clear_bits(HOLE, "page_flags", PageFlag.PG_reserved)
    assert mistaken(kernel.extents(), of, form).any()


def test_reading_a_struct_page_that_nobody_initialised_is_no_decision() -> None:
    of = USERS["is_invalid_reserved_pfn/dirtied"]
    x = busy().extents()
    form = of.forms[BEFORE]
    assert {PageState(s) for s in page_states(x)[blind(x, of, form)]} == {
        PageState.OFFLINE_POISONED
    }
    assert not blind(x, of, of.forms["online"]).any()


def test_what_is_unnoticed_is_a_patch() -> None:
    assert set(UNNOTICED) <= set(PATCHES)


def test_a_section_that_is_shared_fools_who_asks_pfn_to_online_page_before_5_12() -> None:
    of = USERS["kvm_is_reserved_pfn/dirtied"]
    old = variant("seed000", release="5.4")
    for rules, fooled in ((variant("seed000"), False), (old, True)):
        kernel = busy(rules)
        assert kernel.pfns.at(HOLE.start_pfn, "section_flags") & SectionFlag.IS_ONLINE
        x: Extents = kernel.extents()
        form = of.form(rules)
        assert form is not None
        assert bool((mistaken(x, of, form) & (x.zone == ZoneType.ZONE_DEVICE)).any()) == fooled
