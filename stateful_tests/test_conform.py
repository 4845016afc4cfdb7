"""The model agrees with recorded real kernels, and would notice if it did not."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotplug_model.__main__ import main
from hotplug_model.changes import KernelVariant
from hotplug_model.errors import UserError
from hotplug_model.recorded import conform
from hotplug_model.recorded.incomparable import INCOMPARABLE
from hotplug_model.recorded.kernels import KERNELS, kernel_of
from hotplug_model.recorded.recording import load
from stateful_tests.compact import RECORDINGS as DIRECTORY
from stateful_tests.compact import compact, packed

RECORDINGS = sorted(DIRECTORY.glob("*.json.gz"))
F_ERRORS = DIRECTORY / "f_errors_6.1.json.gz"
FUZZ = DIRECTORY / "fuzz_6.1_1.json.gz"
H7 = DIRECTORY / "h7_6.1.json.gz"
VIRTIO = DIRECTORY / "d_virtio_mem_6.1_online_movable.json.gz"
NEVER_COMPARED = {"nosec", "page_pgmap"}
NOT_ALWAYS = {"flags", "ref", "mapcount"}
"""Columns of which only pages that are not online are compared."""
NOT_OBSERVATIONS = {"block_size"}


def raw(path: Path) -> dict[str, Any]:
    """A recording as plain JSON."""
    loaded: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return loaded


def written(tmp_path: Path, recording: object) -> Path:
    """A file with *recording* in it."""
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(recording))
    return path


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_the_model_agrees_with_a_recorded_kernel(path: Path) -> None:
    result = conform(path)
    assert result.mismatches == 0, result.first
    assert result.comparisons > result.steps


def test_every_required_scenario_is_recorded_on_all_four_kernels() -> None:
    names = {path.name for path in RECORDINGS}
    scenarios = (
        "a_dimm", "a2_dimm_eject", "b_e820_collision", "c_nvdimm_kmem", "e_memmap_on_memory",
        "f_errors", "h1", "h2", "h3", "h6", "h7", "h10", "h12",
    )  # fmt: skip
    kernels = ("5.10", "6.1", "6.12", "6.1debug")
    assert {f"{s}_{k}.json.gz" for s in scenarios for k in kernels} <= names
    assert {f"d_virtio_mem_{k}_online_movable.json.gz" for k in kernels} <= names
    assert sum(name.startswith("fuzz_") for name in names) == 7


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("recorded", "modelled"), [("5.10", "6.12"), ("6.1", "5.10"), ("6.12", "6.1"), ("6.1", "6.12")]
)
def test_the_rules_of_another_release_do_not_agree(
    recorded: str, modelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KERNELS, recorded, KernelVariant.named(modelled, ()))
    paths = [path for path in RECORDINGS if path.name.endswith(f"_{recorded}.json.gz")]
    assert sum(conform(path).mismatches for path in paths) > 0


def test_each_recorded_kernel_is_a_release_and_its_backports() -> None:
    assert {key: kernel_of(key).release for key in KERNELS} == {
        "5.10": "5.10", "6.1": "6.1", "6.12": "6.12", "hp": "6.1",
    }  # fmt: skip
    assert kernel_of("6.1").backports == kernel_of("hp").backports
    assert "cd681403a870" in kernel_of("hp").backports


def test_a_poisoned_memmap_shows_a_backport(monkeypatch: pytest.MonkeyPatch) -> None:
    path = DIRECTORY / "b_e820_collision_6.1debug.json.gz"
    assert conform(path).mismatches == 0
    monkeypatch.setitem(KERNELS, "hp", KernelVariant.named("6.1", ()))
    result = conform(path)
    assert "create-namespace -f -e namespace0.0 -m devdax -M mem" in result.first
    assert {found.what for step in result.per_step for found in step} == {
        "zone", "nid", "flags", "ref",
    }  # fmt: skip


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_a_recording_is_what_compacting_makes_of_it(path: Path) -> None:
    recording = raw(path)
    assert packed(compact(recording)) == path.read_bytes()
    assert recording == raw(path)


# Nothing is left out silently


@pytest.mark.unmeasured
def test_every_column_is_compared_or_listed_with_its_reason(tmp_path: Path) -> None:
    columns = raw(F_ERRORS)["run_columns"][2:]
    listed = {name.removeprefix("runs.") for name in INCOMPARABLE if name.startswith("runs.")}
    assert listed == NEVER_COMPARED | NOT_ALWAYS
    for name in sorted(set(columns) - listed):
        recording = raw(F_ERRORS)
        row = recording["steps"][11]["state"]["ranges"]["A"]["runs"][2]
        row[recording["run_columns"].index(name)] += 1
        assert conform(written(tmp_path, recording)).mismatches == 1, name


@pytest.mark.parametrize("name", ["ref", "page_pgmap"])
def test_counts_and_maps_of_device_pages_are_compared(name: str, tmp_path: Path) -> None:
    """Of the head and the tails of a compound page, and of what holds the memmap."""
    recording = raw(DIRECTORY / "c_nvdimm_kmem_6.1.json.gz")
    column = recording["run_columns"].index(name)
    rows = recording["steps"][7]["state"]["ranges"]["nv"]["runs"]
    # The reserve of the altmap is nobody's, and behind the namespace there is nothing.
    for number in (1, 2, 3):
        rows[number][column] += 1
    rows[0][column] += 1
    result = conform(written(tmp_path, recording))
    assert result.mismatches == 3
    assert result.first.startswith("step 7")
    assert f"{name} at nv" in result.first


def test_every_part_of_a_state_is_compared_or_listed() -> None:
    steps = [step for path in RECORDINGS for step in raw(path)["steps"]]
    states = [step["state"] for step in steps if step.get("state")]
    parts = {name for state in states for name in state}
    parts |= {name for state in states for seen in state["ranges"].values() for name in seen}
    compared = {
        "ranges", "runs", "sections", "vmemmap", "zones", "blocks", "iomem", "notifier_events",
        "vmstat", "kpageflags", "kpagecount",
    }  # fmt: skip
    assert parts == compared | NOT_OBSERVATIONS
    listed = {name.removeprefix("state.") for name in INCOMPARABLE if name.startswith("state.")}
    assert listed == NOT_OBSERVATIONS | {"kpageflags", "kpagecount"}


# Single pages


def mismatches(
    tmp_path: Path, name: str, step: int, change: Callable[[dict[str, Any], list[str]], None]
) -> set[str]:
    """What the model disagrees with once the state of a step has been changed."""
    recording = raw(DIRECTORY / f"{name}.json.gz")
    change(recording["steps"][step]["state"], recording["run_columns"])
    found = conform(written(tmp_path, recording)).per_step
    assert [index for index, each in enumerate(found) if each] in ([step], [])
    return {mismatch.what for mismatch in found[step]}


def _bit(name: str, bit: int, row: int) -> Callable[[dict[str, Any], list[str]], None]:
    """Flip a bit of what was recorded of the pages of a row."""

    def change(state: dict[str, Any], columns: list[str]) -> None:
        seen = next(iter(state["ranges"].values()))
        if name.startswith("kpage"):
            seen[name][row][2] = f"{int(seen[name][row][2], 16) ^ 1 << bit:x}"
            return
        at = columns.index(name)
        old = seen["runs"][row][at]
        new = hex(int(old, 16) ^ 1 << bit) if isinstance(old, str) else old ^ 1 << bit
        seen["runs"][row][at] = new

    return change


VIRTIO_6_1, HP = "d_virtio_mem_6.1_online_movable", "a_dimm_6.1debug"
PAGES_TAMPERED = [
    # Step 2: one sub-block of block 32 is plugged, the others are PageOffline and dirty.
    (VIRTIO_6_1, 2, "kpageflags", 23, 0, True),
    (VIRTIO_6_1, 2, "kpageflags", 20, 0, True),
    (VIRTIO_6_1, 2, "kpageflags", 19, 0, True),
    (VIRTIO_6_1, 2, "kpageflags", 32, 0, True),
    (VIRTIO_6_1, 2, "kpageflags", 4, 0, False),
    (VIRTIO_6_1, 2, "kpageflags", 4, 1, True),
    (VIRTIO_6_1, 2, "kpageflags", 10, 1, True),
    # Step 9: a block was unplugged as a whole and is gone.
    (VIRTIO_6_1, 9, "kpageflags", 20, 2, True),
    (VIRTIO_6_1, 9, "kpagecount", 0, 0, False),
    (VIRTIO_6_1, 12, "kpagecount", 0, 0, True),
    # Raw struct pages of memory that was added but is not online.
    (HP, 1, "flags", 12, 0, True),
    (HP, 1, "ref", 0, 0, True),
    (HP, 1, "mapcount", 3, 0, True),
    (VIRTIO_6_1, 14, "flags", 12, 0, True),
    (VIRTIO_6_1, 14, "flags", 51, 0, True),
    (VIRTIO_6_1, 14, "ref", 0, 0, True),
    (VIRTIO_6_1, 2, "flags", 4, 0, False),
    (VIRTIO_6_1, 2, "ref", 0, 0, False),
]


@pytest.mark.parametrize(("name", "step", "what", "bit", "row", "seen"), PAGES_TAMPERED)
def test_a_changed_bit_of_a_page_is_noticed_where_the_model_can_tell(
    name: str, step: int, what: str, bit: int, row: int, seen: bool, tmp_path: Path
) -> None:
    found = mismatches(tmp_path, name, step, _bit(what, bit, row))
    assert found == ({what} if seen else set())


def test_the_size_of_a_device_s_blocks_is_a_fact_about_the_machine(tmp_path: Path) -> None:
    recording = raw(VIRTIO)
    recording["description"] = recording["description"].replace("2M", "8M")
    assert conform(written(tmp_path, recording)).mismatches > 0


def test_a_property_that_is_not_asked_for_in_any_recording_is_one_line(tmp_path: Path) -> None:
    recording = raw(VIRTIO)
    recording["steps"][2]["args"]["property"] = "block-size"
    with pytest.raises(UserError, match="property 'block-size' has no translation"):
        conform(written(tmp_path, recording))


def _zone(state: dict[str, Any]) -> None:
    state["zones"][1]["present"] += 1


def _managed(state: dict[str, Any]) -> None:
    state["zones"][1]["managed"] += 1


def _contiguous(state: dict[str, Any]) -> None:
    state["zones"][1]["contiguous"] ^= 1


def _span(state: dict[str, Any]) -> None:
    state["zones"][0]["spanned"] += 1


def _start(state: dict[str, Any]) -> None:
    state["zones"][2]["start"] += 1


def _block_state(state: dict[str, Any]) -> None:
    state["blocks"][0][1] = "offline"


def _valid_zones(state: dict[str, Any]) -> None:
    state["blocks"][1][2] = "Movable"


def _block_gone(state: dict[str, Any]) -> None:
    del state["blocks"][0]


def _flags(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][1] = "1"


def _bitmap(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][3] = "00000000000000ff"


def _usage(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][2] = 0


def _notifier(state: dict[str, Any]) -> None:
    state["notifier_events"].append([1, 0, 1])


def _iomem(state: dict[str, Any]) -> None:
    state["iomem"].append("200000000-207ffffff : System RAM")


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "tamper",
    [
        _zone, _managed, _contiguous, _span, _start, _block_state, _valid_zones, _block_gone,
        _flags, _bitmap, _usage, _notifier, _iomem,
    ],
)  # fmt: skip
def test_one_changed_observation_is_one_step_s_mismatch(
    tamper: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    recording = raw(F_ERRORS)
    tamper(recording["steps"][6]["state"])
    result = conform(written(tmp_path, recording))
    assert [bool(found) for found in result.per_step].count(True) == 1
    assert result.first.startswith("step 6: mod:add")


# The memory behind the memmap


def _altmap_page(rows: list[list[Any]]) -> None:
    rows[0][3] += 512


def _self_hosted_page(rows: list[list[Any]]) -> None:
    rows[1][3] += 512


def _boot_page(rows: list[list[Any]]) -> None:
    rows[0][3] += 512


def _boot_page_of_another_section(rows: list[list[Any]]) -> None:
    rows[-1][3] += 512


def _mapped_by_base_pages(rows: list[list[Any]]) -> None:
    rows[0][2] = 1


def _unmapped(rows: list[list[Any]]) -> None:
    rows[0][2:] = [0, None, 0]


def _mapped_though_nothing_is_there(rows: list[list[Any]]) -> None:
    rows[1][2:] = [2, 25088, rows[1][1] >> 6]


def _page_count(rows: list[list[Any]]) -> None:
    rows[0][4] -= 1


def _page_of_the_boot_memmap(rows: list[list[Any]]) -> None:
    rows[0][3] = 251904


def _page_of_memory_that_is_not_online(rows: list[list[Any]]) -> None:
    rows[0][3] = 1310720


def _page_of_no_memory(rows: list[list[Any]]) -> None:
    rows[0][3] = 1 << 30


def _half_on_the_same_pages(rows: list[list[Any]]) -> None:
    half = rows[0][1] // 2
    rows[0][1], rows[0][4] = half, rows[0][4] // 2
    rows.insert(1, [rows[0][0] + half, *rows[0][1:]])


def _alias_of_its_own(rows: list[list[Any]]) -> None:
    rows[2][3] = 250000


def _alias_of_the_head(rows: list[list[Any]]) -> None:
    rows[2][3] -= 1


def _alias_of_another_compound_page(rows: list[list[Any]]) -> None:
    rows[2][3] += 2


def _head_on_the_tail_before(rows: list[list[Any]]) -> None:
    first, nr_pfns, level, frame, _ = rows[7]
    rows[7:8] = [[first, 64, level, frame, 1], [first + 64, nr_pfns - 64, level, frame, 2]]


VMEMMAP_TAMPERED = [
    ("h1_6.1", 1, "A", _altmap_page, "page behind vmemmap"),
    ("h6_6.1", 1, "A", _self_hosted_page, "page behind vmemmap"),
    ("f_errors_6.1", 6, "tail", _boot_page, "page behind vmemmap"),
    ("b_e820_collision_6.12", 0, "pmem", _boot_page_of_another_section, "page behind vmemmap"),
    ("f_errors_6.1", 6, "A", _mapped_by_base_pages, "level of vmemmap"),
    ("f_errors_6.1", 6, "A", _unmapped, "level of vmemmap"),
    ("f_errors_6.1", 6, "A", _mapped_though_nothing_is_there, "level of vmemmap"),
    ("f_errors_6.1", 6, "A", _page_count, "mapped pages of vmemmap"),
    ("f_errors_6.1", 6, "A", _page_of_the_boot_memmap, "whose memory is behind vmemmap"),
    ("f_errors_6.1", 6, "A", _page_of_memory_that_is_not_online, "whose memory is behind vmemmap"),
    ("f_errors_6.1", 6, "A", _page_of_no_memory, "whose memory is behind vmemmap"),
    ("f_errors_6.1", 6, "A", _half_on_the_same_pages, "page on the same memory"),
    ("h7_6.1", 1, "A", _alias_of_its_own, "page on the same memory"),
    ("h7_6.1", 1, "A", _alias_of_its_own, "pages behind vmemmap"),
    ("h7_6.1", 1, "A", _alias_of_the_head, "page on the same memory"),
    ("h7_6.1", 1, "A", _alias_of_another_compound_page, "page on the same memory"),
    ("h7_6.1", 1, "A", _head_on_the_tail_before, "page on the same memory"),
]


@pytest.mark.unmeasured
@pytest.mark.parametrize(("name", "step", "label", "tamper", "what"), VMEMMAP_TAMPERED)
def test_a_changed_row_of_vmemmap_is_one_step_s_mismatch(
    name: str,
    step: int,
    label: str,
    tamper: Callable[[list[list[Any]]], None],
    what: str,
    tmp_path: Path,
) -> None:
    recording = raw(DIRECTORY / f"{name}.json.gz")
    tamper(recording["steps"][step]["state"]["ranges"][label]["vmemmap"])
    found = conform(written(tmp_path, recording)).per_step
    assert [index for index, each in enumerate(found) if each] == [step]
    assert what in {mismatch.what for mismatch in found[step]}


def test_pages_shared_across_ranges_are_noticed(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    ranges = recording["steps"][6]["state"]["ranges"]
    ranges["A"]["vmemmap"][0][3] = ranges["tail"]["vmemmap"][0][3]
    (found,) = filter(None, conform(written(tmp_path, recording)).per_step)
    assert "page on the same memory" in {mismatch.what for mismatch in found}


@pytest.mark.parametrize("name", ["nr_memmap_pages", "nr_memmap_boot_pages"])
def test_a_changed_counter_is_one_mismatch(name: str, tmp_path: Path) -> None:
    recording = raw(DIRECTORY / "h3_6.12.json.gz")
    for index in range(len(recording["steps"])):
        changed = copy.deepcopy(recording)
        changed["steps"][index]["state"]["vmstat"][name] ^= 1
        result = conform(written(tmp_path, changed))
        assert (result.mismatches, len(result.per_step[index])) == (1, 1)


def test_a_counter_wraps_around_as_the_kernel_s_does() -> None:
    recording = raw(DIRECTORY / "h3_6.12.json.gz")
    counters = [step["state"]["vmstat"]["nr_memmap_pages"] for step in recording["steps"]]
    assert max(counters) == 2**64 - 512


def test_where_the_boot_memmap_lies_is_all_that_is_taken_from_the_rows(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    for step in recording["steps"]:
        for row in step["state"]["ranges"]["tail"]["vmemmap"]:
            row[3] = 251904 - 512 if row[3] == 251904 else row[3]
    assert load(written(tmp_path, recording)).boot.memmap_start == 251904 - 8 * 512
    assert conform(written(tmp_path, recording)).mismatches == 0


def test_a_changed_errno_is_noticed(tmp_path: Path) -> None:
    recording, changed = raw(F_ERRORS), 0
    for step in recording["steps"]:
        if step["errno"] not in (None, 16) and "pin" not in step["op"] and step["op"] != "boot":
            step["errno"] = 99
            changed += 1
    assert changed > 10
    assert conform(written(tmp_path, recording)).mismatches == changed


def test_a_crash_that_the_model_does_not_account_for_is_a_mismatch(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    recording["steps"] = recording["steps"][:7]
    recording["steps"][6]["errno"] = "CRASH"
    del recording["steps"][6]["state"]
    assert conform(written(tmp_path, recording)).mismatches == 1


def test_a_sampled_window_is_compared_at_every_sample(tmp_path: Path) -> None:
    recording = raw(FUZZ)
    for rows in recording["steps"][5]["runs"].values():
        rows[0][3] ^= 1
    assert conform(written(tmp_path, recording)).mismatches >= 2


# Damaged files


@pytest.mark.parametrize(
    "recording",
    [
        [], {}, {"kernel_key": "6.1"}, {"kernel_key": "6.1", "steps": []},
        {"kernel_key": "9.9", "layout": {}}, {"kernel_key": "6.1", "layout": {"mem": "x"}},
    ],
)  # fmt: skip
def test_what_is_no_recording_is_one_line(recording: object, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        conform(written(tmp_path, recording))
    assert "\n" not in str(refused.value)


def test_an_unknown_step_or_kernel_is_one_line(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    for change in ({"op": "qmp:unheard-of"}, {"op": "mod:x", "args": {"cmd": "x 1"}}):
        changed = copy.deepcopy(recording)
        changed["steps"][3] |= change
        with pytest.raises(UserError, match="no translation"):
            conform(written(tmp_path, changed))
    with pytest.raises(UserError, match="recorded kernel"):
        conform(written(tmp_path, recording | {"kernel_key": "6.2"}))


@pytest.mark.parametrize(("whole", "nr_damaged"), [(FUZZ, 200), (H7, 100)])
def test_damaged_recordings_never_raise_anything_else(
    whole: Path, nr_damaged: int, tmp_path: Path
) -> None:
    text = gzip.decompress(whole.read_bytes())
    chance = random.Random(7)
    path = tmp_path / "damaged.json"
    for _ in range(nr_damaged):
        damaged = bytearray(text[: chance.randrange(len(text))] if chance.random() < 0.3 else text)
        for _ in range(chance.randrange(1, 9)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(32, 127)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(UserError):
            conform(path)


@pytest.mark.parametrize(
    "row",
    [
        [1310720, 196608, 2, 25600], [1310720, 1 << 40, 2, 25600, 512], ["x", 1, 2, 3, 4],
        [1310720, 196600, 1, 25600, 512], [1 << 70, 64, 1, 25600, 1], [1310720, 0, 0, None, 0],
        [-64, 64, 1, 25600, 1], [1310720, 196608, 1, {}, 512], [1310720, 64, 1, 25600, None],
    ],
)  # fmt: skip
def test_a_damaged_row_of_vmemmap_is_one_line(row: list[Any], tmp_path: Path) -> None:
    recording = raw(H7)
    recording["steps"][1]["state"]["ranges"]["A"]["vmemmap"] = [row]
    with pytest.raises(UserError, match="damaged state"):
        conform(written(tmp_path, recording))


def test_a_boot_memmap_nowhere_is_one_line(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    recording["steps"][0]["state"]["ranges"]["tail"]["vmemmap"][0][3] = 0
    with pytest.raises(UserError, match="memmap at -3584"):
        conform(written(tmp_path, recording))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "it has no 'kernel_key'"), ("[]", "no JSON object"),
        ('{"kernel_key": "6.1", "steps": [4]}', "another form"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_told_in_words(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: not a recording: .*{said}"):
        load(path)


def test_a_cut_gzip_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.json.gz"
    path.write_bytes(FUZZ.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        load(path)


# The command


def test_conform_prints_a_line_a_file_and_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", str(FUZZ), str(F_ERRORS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("fuzz_6.1_1.json.gz: v6.1 with 001002e73712, ")
    assert ": 50 steps, " in lines[0]
    assert lines[2].endswith("0 mismatches")


def test_conform_shows_both_sides_of_the_first_divergence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = raw(F_ERRORS)
    recording["steps"][6]["state"]["zones"][0]["present"] += 1
    path = str(written(tmp_path, recording))
    assert main(["conform", path]) == 1
    assert "present at node 0 : recorded 255903, model 255902" in capsys.readouterr().out
    assert main(["conform", path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["mismatches"] == 1
