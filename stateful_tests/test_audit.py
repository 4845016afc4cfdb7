"""The audit: what the series makes wrong, patch by patch, and how it is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.audit import (
    Audit,
    Comparison,
    Verdict,
    applied,
    audit,
    compare,
    looks,
    without_users,
)
from hotplug_model.changes import KernelVariant
from hotplug_model.changes.proposal_seed_000 import CALLBACKS, PATCHES, UNNOTICED
from hotplug_model.page_state import PageState
from hotplug_model.report.audit_table import beyond
from hotplug_model.users import USERS

MMIO = {("kvm_is_mmio_pfn", state) for state in (PageState.BOOT_RESERVED, PageState.WITHHELD)}
"""The new form takes every online reserved page for registers, however it is mapped."""
WHOLE = MMIO | {("kvm_is_reserved_pfn", PageState.WITHHELD)}
"""And what no region of Hyper-V covers nobody marks any more."""
NEW = {
    "holes": set(),
    "usercopy": {"check_page_span"},
    "kvm-mmu": {"kvm_is_mmio_pfn"},
    "kvm": {"kvm_is_reserved_pfn"},
    "vfio": {"is_invalid_reserved_pfn"},
    "gasket": {"gasket_release_page"},
    "kpc2000": {"transfer_complete_cb"},
    "book3s": {"kvmppc_book3s_instantiate_page"},
    "hash": {"hash_page_do_lazy_icache"},
    "pgtable": {"maybe_pte_to_page"},
    "ioremap": set(),
}


@pytest.fixture(scope="module")
def mainline() -> dict[str, Comparison]:
    return {each.change: each for each in compare(None)[1]}


@pytest.fixture(scope="module")
def old() -> dict[str, Comparison]:
    return {each.change: each for each in compare("5.4")[1]}


def newly_wrong(each: Comparison) -> set[tuple[str, PageState]]:
    return {(cell.user.name, cell.state) for cell in each.new}


def test_the_series_makes_two_decisions_wrong_that_were_right(
    mainline: dict[str, Comparison],
) -> None:
    assert newly_wrong(mainline["seed000"]) == WHOLE


def test_with_patches_3_and_12_mended_no_decision_is_wrong_that_was_right(
    mainline: dict[str, Comparison],
) -> None:
    corrected = mainline["seed000-corrected"]
    assert newly_wrong(corrected) == set()
    assert corrected.audit.bad() == mainline["seed000"].audit.bad() - {
        *((f"{name}/mmio", state) for name, state in MMIO),
        ("kvm_is_reserved_pfn/dirtied", PageState.WITHHELD),
    }


@pytest.mark.parametrize("driver", CALLBACKS)
def test_a_balloon_that_marks_nothing_lets_kvm_dirty_what_it_keeps(
    driver: str, mainline: dict[str, Comparison]
) -> None:
    cells = mainline[f"seed000-without-{driver}"].new
    assert {(cell.user.key, cell.state) for cell in cells} == {
        ("kvm_is_reserved_pfn/dirtied", PageState.WITHHELD)
    }
    boots = {"xen": "xen", "hv_balloon": "hyper-v"}
    assert {cell.scene.boot for cell in cells} == {boots[driver]}


def test_the_command_line_says_so_of_the_series_and_of_its_mended_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["audit", "--change", "seed000"]) == 1
    out = capsys.readouterr().out
    assert "wrong that was right on mainline plus seed000-before: 3 of" in out
    assert "kvm_is_mmio_pfn (arch/x86/kvm/mmu.c), mmio: is wrong of c boot_reserved" in out
    assert main(["audit", "--change", "seed000-corrected"]) == 0
    assert "wrong that was right on mainline plus seed000-before: 0 of" in capsys.readouterr().out


def test_before_5_12_it_is_wrong_wherever_a_device_shares_a_section(
    old: dict[str, Comparison],
) -> None:
    cells = [cell for cell in old["seed000"].new if (cell.user.name, cell.state) not in WHOLE]
    assert {cell.scene.name.rpartition(" ")[0] for cell in cells} == {
        f"{kind} device beside" for kind in ("fs_dax", "generic", "pci_p2pdma")
    }
    fine = [cell.user.name for cell in cells if cell.user.thread.startswith("should be fine")]
    assert set(fine) == {"hwpoison_user_mappings"}


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_that_is_left_out_makes_its_user_wrong(
    name: str, mainline: dict[str, Comparison]
) -> None:
    compared = list(mainline.values())
    cells = beyond(mainline[f"seed000-without-{name}"], compared)
    assert {cell.user.name for cell in cells} == NEW[name]
    assert all(cell.verdict == Verdict.WRONG for cell in cells)


def test_what_no_user_notices_is_argued_or_another_invariant_s() -> None:
    assert {name for name, users in NEW.items() if not users} == {"holes", *UNNOTICED}


def test_of_the_two_halves_only_zone_device_needed_the_patches(
    mainline: dict[str, Comparison],
) -> None:
    assert newly_wrong(mainline["seed000-system-ram"]) == WHOLE
    alone = {cell.user.name for cell in mainline["seed000-flag"].new}
    assert alone == set().union(*NEW.values())


def test_mainline_leaks_what_vfio_pins_of_a_device() -> None:
    found = audit(KernelVariant.named(None, ()))
    cell = found.cells["is_invalid_reserved_pfn/refcounted", PageState.GENERIC]
    assert (cell.verdict, cell.decided[0].says) == (Verdict.WRONG, False)


def wrong_of_kvm(found: Audit, decision: str = "refcounted") -> set[PageState]:
    return {
        state for (key, state), cell in found.cells.items()
        if key == f"kvm_is_reserved_pfn/{decision}" and cell.verdict == Verdict.WRONG
    }  # fmt: skip


def test_a78986aae9b2_let_kvm_count_device_pages() -> None:
    undone = ("kvm-keeps-the-page", "8e1c69149f27", "a78986aae9b2")
    without, fixed = (
        wrong_of_kvm(audit(KernelVariant.named(None, changes))) for changes in (undone, undone[:2])
    )
    assert without - fixed == {PageState.FS_DAX, PageState.GENERIC}


@pytest.mark.parametrize(("release", "dirty"), [("5.19", False), ("6.0", True), ("6.12", True)])
def test_kvm_dirties_device_pages_that_are_not_reserved_any_more(
    release: str, dirty: bool
) -> None:
    before, found = (
        wrong_of_kvm(audit(KernelVariant.named(release, changes)), "dirtied")
        for changes in ((), ("seed002-without-reserved",))
    )
    devices = {
        PageState.FS_DAX, PageState.GENERIC, PageState.PCI_P2PDMA, PageState.ALTMAP_FREE
    }  # fmt: skip
    assert found - before == (devices if dirty else set())


# How it is shown


def test_the_report_fits_and_has_a_row_for_every_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for of in USERS:
        assert any(of.name in each and f" {of.decides.value} " in each for each in lines)
    assert any(each.startswith("  without patch 2, usercopy") for each in lines)


def test_changes_are_held_against_the_kernel_without_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["audit", "--change", "seed000-without-gasket"]) == 1
    out = capsys.readouterr().out
    assert "wrong that was right on mainline plus seed000-before: 5 of" in out
    assert "gasket_release_page (drivers/staging/gasket/gasket_page_table.c), dirtied" in out
    assert main(["audit", "--change", "918ce05bbe52"]) == 0


def test_where_the_thread_is_wrong_the_report_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--release", "5.4", "--change", "seed000"]) == 1
    out = capsys.readouterr().out
    assert "the thread: should be fine: not reached via memory_failure()" in out
    assert "memremap_pages(pgmap_id=0, ranges=([0xc-0xe)), type=fs_dax" in out


@pytest.mark.unmeasured
@pytest.mark.parametrize(("release", "said"), [("5.7", True), ("5.8", False)])
def test_of_a_release_without_virtio_mem_it_says_so(
    capsys: pytest.CaptureFixture[str], release: str, said: bool
) -> None:
    main(["audit", "--release", release])
    assert ("which came in v5.8" in " ".join(capsys.readouterr().out.split())) == said


def test_kernels_that_differ_in_their_users_share_what_is_seen() -> None:
    """What keeps the whole audit, of a kernel and of twenty changes, within seconds."""
    variants = [KernelVariant.named(None, (name,)) for name, _ in applied()]
    machines = {without_users(variant.rules()) for variant in variants}
    assert len(variants) >= 18
    assert len(machines) <= 8
    assert max(len(looks(machine)) for machine in machines) <= 90


@pytest.mark.parametrize(("release", "says"), [("6.5", {True}), ("6.6", {False})])
def test_hwpoison_leaves_pages_that_are_offline_alone_since_6_6(
    release: str, says: set[bool]
) -> None:
    cell = audit(KernelVariant.named(release, ())).cells[
        "hwpoison_user_mappings/unmapped", PageState.FAKE_OFFLINE
    ]
    assert {each.says for each in cell.decided} == says


def test_json_holds_users_states_and_ways_to_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["audit", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in found["users"]} == {of.name for of in USERS}
    assert set(found["states"]) == {state.name for state in PageState}
    wrong = [each for each in found["cells"] if each["verdict"] == "wrong"]
    assert all(each["ops"] or each["boot"] for each in wrong)
    assert found["series"][0]["change"] == "seed000"


def test_markdown_is_two_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["audit", "--markdown"])
    out = capsys.readouterr().out
    assert out.count("\n| -") == 2
    assert all(line.startswith("|") for line in out.splitlines() if line)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("no_such_module", "ModuleNotFoundError"), ("json", "registers no user")],
)
def test_a_module_without_users_is_one_line(
    name: str, complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--user", name]) == 2
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 1
    assert complaint in complaints[0]


@pytest.mark.parametrize("name", ["free_pagetable", "vmemmap_free"])
@pytest.mark.parametrize("change", ["seed000-before", "seed000"])
def test_no_answer_is_right_of_an_altmap_that_was_not_passed(name: str, change: str) -> None:
    cells = audit(KernelVariant.named(None, (change,))).cells
    assert cells[f"{name}/bootmem", PageState.ALTMAP_FREE].verdict == Verdict.WRONG


RAISES = """
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import user

@user("drivers/mine.c", decides=Decision.SHOWN, reach=PageState, why="It raises.")
def raises(x):
    raise KeyError("no such page")
"""


def test_a_user_that_raises_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raising_user.py").write_text(RAISES)
    try:
        assert main(["audit", "--user", "raising_user", "--user", "raising_user"]) == 2
    finally:
        USERS.discard("raises/shown")
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.endswith("raising_user.py, line 7, raises(): KeyError: 'no such page'")
