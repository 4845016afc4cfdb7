"""Traces survive a journey through text, and nothing else passes for one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotplug_model.__main__ import main
from hotplug_model.errors import UserError
from hotplug_model.minimise import minimise
from hotplug_model.trace import Trace, replay
from hotplug_model.trace_json import FORMAT, MAX_BYTES, MAX_EVENTS
from stateful_tests.kernels import add, pages
from stateful_tests.traces import collision, crowded

TEXT = collision().dumps()


def changed(**fields: Any) -> str:
    """The collision with some fields replaced."""
    return json.dumps(json.loads(TEXT) | fields)


def boot(**fields: Any) -> str:
    """The collision with some fields of its boot layout replaced."""
    return changed(boot=json.loads(TEXT)["boot"] | fields)


@pytest.mark.parametrize("trace", [collision(), collision("x86_64", 200), crowded()])
def test_reading_what_was_written_gives_the_equal_trace(trace: Trace) -> None:
    assert Trace.loads(trace.dumps()) == trace


def test_the_canonical_text_does_not_depend_on_the_text_that_was_read() -> None:
    assert Trace.loads(json.dumps(json.loads(TEXT), indent=7)).dumps() == TEXT


EVENT = json.loads(TEXT)["events"][0]
REFUSED = {
    "": "not JSON",
    "[]": "no JSON object",
    "{}": "'format' is missing",
    "[" * 100_000: "nested too deeply",
    '{"a":' * 30 + "1" + "}" * 30: "nested too deeply",
    '{"format": 1, "format": 1}': "given twice",
    changed(format=FORMAT + 1): f"trace format {FORMAT + 1}",
    changed(format=10**4000): "trace format 1000",
    changed(format=True): "expected int, found True",
    changed(surprise=1): "no field 'surprise'",
    changed(geometry="tinny"): "did you mean tiny,",
    changed(violates=["zone_span_shrinks"]): "did you mean zone_spans_shrink",
    changed(violates=[1]): "at most 100 names",
    changed(strict=None): "expected bool",
    changed(title=float("nan")): "NaN is no number",
    changed(found={"a": [1]}): "found.a: expected str or int",
    changed(kernel={"release": "5.1l", "changes": []}): "no release '5.1l'",
    changed(kernel={"release": None, "changes": ["1f90a3477df4"]}): "did you mean 1f90a3477df3",
    changed(kernel={"release": None, "changes": ["os:getcwd"]}): "which is code",
    changed(events=[EVENT] * (MAX_EVENTS + 1)): "1001 events",
    changed(events=[None]): "an event must be an object",
    changed(events=[EVENT | {"op": "memremap_page"}]): "did you mean memremap_pages",
    changed(events=[EVENT | {"fail_at": "vmemap_page"}]): "did you mean vmemmap_page",
    changed(events=[EVENT | {"fail_at": "usage:0"}]): "must end in a number from 1",
    changed(events=[EVENT | {"fail_at": "usage:" + "9" * 5000}]): "must end in a number",
    changed(events=[EVENT | {"fail_at": 3}]): "expected str, found 3",
    changed(events=[{n: v for n, v in EVENT.items() if n != "fail_at"}]): "'fail_at' is missing",
    changed(events=[EVENT | {"ranges": [[0, 1 << 60]]}]): "out of range",
    changed(events=[EVENT | {"ranges": [[0, 1 << 50]]}]): "span more than",
    changed(events=[EVENT | {"ranges": [[0, 1 << 13]]}] * 9): "too much to replay",
    boot(ram=[]): "must not be empty",
    boot(ram=[[8, 0, 0]]): "is empty or outside",
    boot(ram=[[-8, 8, 0]]): "is negative",
    boot(ram=[[0, 1 << 70, 0]]): "expected a pfn",
    boot(ram=[[0, 8, 0], [4, 12, 0]]): "overlap",
    boot(nodes=10**9): "1 to 8 nodes",
    boot(sections_per_block=0): "1 to 64 sections",
    boot(firmware=[[7, 0, 1]]): "region's name",
    boot(memhp_default_state="on"): "did you mean online",
    boot(page_poisoning=1): "expected bool, found 1",
    " " * (MAX_BYTES + 1): "larger than",
}


# What an older version of this project wrote is read for ever. Do not renew these texts.
FORMAT_1 = """{
  "format": 1,
  "title": "A device mapped into the hole of an online section passes for System RAM",
  "postmortem": "",
  "kernel": {"release": null, "changes": ["1f90a3477df3"]},
  "strict": false,
  "geometry": "tiny",
  "boot": {
    "ram": [[0, 8, 0], [8, 12, 0]], "window": [[0, 8], [8, 16], [16, 24], [24, 32]],
    "firmware": [], "nodes": 1, "sections_per_block": 1, "memhp_default_state": "offline",
    "movable_node": false, "memmap_on_memory": false, "device_private": true,
    "holes_in_zone": false, "page_poisoning": true
  },
  "events": [
    {"op": "add_memory", "nid": 0, "pfns": [16, 24], "mhp_flags": 0},
    {"op": "memremap_pages", "pgmap_id": 0, "ranges": [[12, 14]], "type": "generic",
     "nid": 0, "altmap": []}
  ],
  "violates": ["walkers_read_no_poisoned_page", "walkers_take_no_zone_device_page"],
  "found": {}
}"""


def test_a_trace_of_format_1_is_read_for_ever() -> None:
    trace = Trace.loads(FORMAT_1)
    assert [event.fail_at for event in trace.events] == [None, None]
    assert replay(trace)[0] == 1
    assert Trace.loads(trace.dumps()) == trace
    assert json.loads(trace.dumps())["format"] == 2


def test_an_event_of_format_1_may_be_anything() -> None:
    events: list[object] = [None, 7, [], {}, {"op": []}, {"op": None}]
    for event in events:
        with pytest.raises(UserError, match="an event must be an object"):
            Trace.loads(json.dumps(json.loads(FORMAT_1) | {"events": [event]}))


def test_an_allocation_that_fails_survives_the_journey() -> None:
    (event,) = collision().events
    trace = replace(collision(), events=(replace(event, fail_at="vmemmap_page:3"),))
    assert Trace.loads(trace.dumps()) == trace
    assert json.loads(trace.dumps())["events"][0]["fail_at"] == "vmemmap_page:3"


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=REFUSED.values())
def test_a_bad_trace_is_refused_in_one_line_that_says_why(text: str, reason: str) -> None:
    with pytest.raises(UserError) as refused:
        Trace.loads(text)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_code_that_the_user_asked_for_may_be_named_by_a_trace() -> None:
    name = "hotplug_model.changes.commit_1f90a3477df3:section_granularity"
    text = changed(kernel={"release": None, "changes": [name]})
    with pytest.raises(UserError, match="which is code"):
        Trace.loads(text)
    assert Trace.loads(text, trusted=(name,)).changes == (name,)


def flip_byte(rng: random.Random, text: bytes) -> bytes:
    """One byte is something else."""
    at = rng.randrange(len(text))
    return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]


def truncate(rng: random.Random, text: bytes) -> bytes:
    """The end is missing."""
    return text[: rng.randrange(len(text))]


def splice(rng: random.Random, text: bytes) -> bytes:
    """A part of the file is there twice."""
    start, end = sorted(rng.randrange(len(text)) for _ in range(2))
    return text[:end] + text[start:]


VALUES: list[Any] = [
    None, True, 0, -1, 1, 7, 1 << 31, 1 << 52, -(1 << 52), 10**30, 1.5, 1e308, "", "x", "tiny",
    "\ud800", "a" * 5000, [], [[]], [0, 1], {}, {"op": "add_memory"}, [1 << 40] * 3,
]  # fmt: skip


def swap_value(rng: random.Random, text: bytes) -> bytes:
    """One value anywhere in the tree is something else."""
    raw = json.loads(text)
    value: Any = raw
    for _ in range(rng.randrange(1, 6)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key = rng.choice(keys)
        if rng.random() < 0.3 or not isinstance(value[key], dict | list):
            value[key] = rng.choice(VALUES)
            break
        value = value[key]
    return json.dumps(raw).encode()


def change_numbers(rng: random.Random, text: bytes) -> bytes:
    """A few numbers of the events, or of the boot layout, are others."""
    raw = json.loads(text)
    part = rng.choice(["events", "events", "boot"])

    def walk(value: Any) -> Any:
        if type(value) is int and rng.random() < 0.1:
            return rng.choice([0, 1, 2, 3, 8, 12, 16, 24, 31, 32, 33, -1, 1 << 20])
        if isinstance(value, list):
            return [walk(each) for each in value]
        if isinstance(value, dict):
            return {name: walk(each) for name, each in value.items()}
        return value

    return json.dumps(raw | {part: walk(raw[part])}).encode()


def nest(rng: random.Random, text: bytes) -> bytes:
    """A value is buried deeply."""
    depth = rng.choice([3, 17, 900, 50_000])
    return text.replace(b'"tiny"', b"[" * depth + b"]" * depth, 1)


DAMAGE: list[Callable[[random.Random, bytes], bytes]] = [
    flip_byte, truncate, splice, swap_value, swap_value, change_numbers, change_numbers, nest,
]  # fmt: skip


def with_defaults(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*events* with what each must have and mostly has not."""
    shift = {"vmemmap_shift": 0}
    usual = [event | (shift if event["op"] == "memremap_pages" else {}) for event in events]
    return [{"fail_at": None} | event for event in usual]


def every_operation() -> str:
    """A trace with one event of each kind: all of them get damaged."""
    events: list[dict[str, Any]] = [
        {"op": "add_memory", "nid": 0, "pfns": [16, 24], "mhp_flags": 0},
        {"op": "online_memory_block", "block_id": 2, "online_type": "online_movable",
         "fail_at": "notifier"},
        {"op": "online_memory_block", "block_id": 2, "online_type": "online_movable"},
        {"op": "pin_pages", "pfns": [16, 17]},
        {"op": "offline_memory_block", "block_id": 2, "unmovable": False},
        {"op": "unpin_pages", "pfns": [16, 17]},
        {"op": "offline_memory_block", "block_id": 2, "unmovable": False},
        {"op": "remove_memory", "pfns": [16, 24]},
        {"op": "request_mem_region", "pfns": [24, 26]},
        {"op": "memremap_pages", "pgmap_id": 0, "ranges": [[24, 26], [28, 30]],
         "type": "fs_dax", "nid": 0, "altmap": []},
        {"op": "memunmap_pages", "pgmap_id": 0},
        {"op": "release_mem_region", "pfns": [24, 26]},
        {"op": "offline_and_remove_memory", "pfns": [8, 16], "unmovable": False},
    ]  # fmt: skip
    return changed(
        events=with_defaults(events), violates=[], kernel={"release": None, "changes": []}
    )


@pytest.mark.unmeasured
def test_500_damaged_files_give_an_exit_code_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(1)
    # What is crowded takes long to replay.
    whole = [*[TEXT.encode(), every_operation().encode()] * 4, crowded().dumps().encode()]
    codes = {0: 0, 1: 0, 2: 0}
    for number in range(500):
        path = tmp_path / f"{number}.json"
        path.write_bytes(rng.choice(DAMAGE)(rng, rng.choice(whole)))
        code = main(["replay", str(path)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert len((out + err).splitlines()) == 1, path.read_bytes()[:2000]
        assert code in codes, (err, path.read_bytes()[:2000])
        codes[code] += 1
    assert min(codes.values()) > 0, codes


def test_no_store_is_lost_when_the_pfn_table_grows() -> None:
    size = 1 << 15
    events = [
        add(pages(nr * size, (nr + 1) * size)).to_json() for nr in range(40, 140, 2)
    ]
    raw = json.loads(collision("x86_64").dumps())
    raw |= {"events": events, "violates": [], "kernel": {"release": None, "changes": []}}
    trace = Trace.loads(json.dumps(raw))
    checker = trace.machine()
    for event in trace.events:
        assert checker.apply(event).violations == []
    assert checker.kernel.pfns.nr_runs > 64


def test_minimising_keeps_what_breaks_and_drops_the_rest() -> None:
    long = collision("tiny", 8)
    assert minimise(long) == collision()
    assert minimise(replace(long, events=(*long.events, long.events[0]))) == collision()
    holds = replace(long, changes=(), violates=())
    assert minimise(holds) == holds
