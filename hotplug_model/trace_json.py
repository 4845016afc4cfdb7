"""The JSON form of traces. What is no trace gets one line that says why.

A trace file may come from anywhere. Reading one never runs code, and neither reading nor
replaying one takes long: sizes are limited before anything is built.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from hotplug_model.boot import BootLayout
from hotplug_model.errors import UserError
from hotplug_model.flags import OnlineType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.invariants import INVARIANTS
from hotplug_model.ops import Op
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import unknown

if TYPE_CHECKING:
    from hotplug_model.trace import Trace

FORMAT = 2
NEW_IN_FORMAT_2: dict[str, dict[str, Any]] = {
    "": {"fail_at": None},
    "memremap_pages": {"vmemmap_shift": 0},
}
"""By operation, "" being all: what events of format 1 lack, and what that meant."""
MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_EVENTS = 1000
MAX_SECTIONS = 1 << 15
"""Sections that the ranges of a boot layout, or of all events, may span together."""
MAX_WORK = 8_000_000
"""Milestones times sections to look at: some ten seconds of replay."""
MAX_PFN = 1 << 52


def dumps(trace: Trace) -> str:
    """The canonical text: equal traces are equal bytes."""
    text = {
        "format": FORMAT,
        "title": trace.title,
        "postmortem": trace.postmortem,
        "kernel": {"release": trace.release, "changes": list(trace.changes)},
        "strict": trace.strict,
        "geometry": trace.geometry,
        "boot": boot_to_json(trace.boot),
        "events": [event.to_json() for event in trace.events],
        "violates": list(trace.violates),
        "found": trace.found,
    }
    lines = [f"  {json.dumps(name)}: {_pretty(name, value)}" for name, value in text.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def fields(text: str) -> dict[str, Any]:
    """The fields of a :class:`Trace`; :class:`UserError` for anything that is none."""
    raw = parse_json(text)
    _only(raw, {
        "format", "title", "postmortem", "kernel", "strict", "geometry", "boot", "events",
        "violates", "found",
    }, "trace")  # fmt: skip
    version = _get(raw, "format", int)
    if not 1 <= version <= FORMAT:
        raise UserError(f"trace format {shown(version)}; this reads formats 1 to {FORMAT}")
    kernel = _get(raw, "kernel", dict)
    _only(kernel, {"release", "changes"}, "kernel")
    name = _get(raw, "geometry", str)
    geometry = GEOMETRIES[name]
    boot = boot_from_json(_get(raw, "boot", dict), geometry)
    found = _get(raw, "events", list)
    events = _events(found if version > 1 else list(map(from_format_1, found)), geometry)
    _refuse_work(boot, events, geometry)
    return {
        "geometry": name,
        "boot": boot,
        "release": _get(kernel, "release", str, None),
        "changes": _names(_get(kernel, "changes", list), "changes"),
        "strict": _get(raw, "strict", bool, False),
        "events": events,
        "violates": _invariants(_get(raw, "violates", list)),
        "title": _get(raw, "title", str, ""),
        "postmortem": _get(raw, "postmortem", str, ""),
        "found": _found(_get(raw, "found", dict, {})),
    }


def from_format_1(event: object) -> object:
    """An event of format 1 in the words of format 2; whatever is no event as it is."""
    if not isinstance(event, dict):
        return event
    name = str(event.get("op"))
    return NEW_IN_FORMAT_2[""] | NEW_IN_FORMAT_2.get(name, {}) | event


def parse_json(text: str) -> dict[str, Any]:
    """The JSON object that *text* is; else :class:`UserError` with the reason."""
    if len(text) > MAX_BYTES:
        raise UserError(f"file is larger than {MAX_BYTES} bytes; that is no trace")
    try:
        raw = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicate)
    except RecursionError:
        raise UserError("JSON is nested too deeply to be a trace") from None
    except ValueError as error:
        raise UserError(f"not JSON: {str(error)[:120]}") from None
    if not isinstance(raw, dict):
        raise UserError("not a trace: the file holds no JSON object")
    _refuse_depth(raw)
    return raw


def boot_to_json(boot: BootLayout) -> dict[str, Any]:
    """Plain JSON; :func:`boot_from_json` gives the equal layout back."""
    plain = {f.name: getattr(boot, f.name) for f in dataclasses.fields(BootLayout)}
    plain["ram"] = [[*_pair(pfns), nid] for pfns, nid in boot.ram]
    plain["window"] = [_pair(pfns) for pfns in boot.window]
    # Later fields: left out where they are as ever, so that older traces stay as they are.
    del plain["reserved"]
    if boot.reserved:
        plain["reserved"] = [_pair(pfns) for pfns in boot.reserved]
    if not boot.hypervisor:
        del plain["hypervisor"]
    for name, usual in (("bbm_safe_unplug", True), ("hugetlb_free_vmemmap", False)):
        if plain[name] == usual:
            del plain[name]
    plain["firmware"] = [[name, *_pair(pfns)] for name, pfns in boot.firmware]
    plain["memhp_default_state"] = boot.memhp_default_state.label
    return plain


def boot_from_json(raw: dict[str, Any], geometry: Geometry) -> BootLayout:
    """The layout that *raw* describes, valid for *geometry*; else :class:`UserError`."""
    _only(raw, {f.name for f in dataclasses.fields(BootLayout)}, "boot")
    labels = {each.label: each for each in OnlineType}
    label = _get(raw, "memhp_default_state", str, "offline")
    if label not in labels:
        raise UserError("boot: " + unknown("memhp_default_state", label, labels))
    boot = BootLayout(
        ram=tuple((_range(r[:2]), _int(r[2])) for r in _rows(raw, "ram", 3)),
        window=tuple(_range(r) for r in _rows(raw, "window", 2)),
        reserved=tuple(_range(r) for r in _rows(raw, "reserved", 2)),
        firmware=tuple((_name(r[0]), _range(r[1:])) for r in _rows(raw, "firmware", 3)),
        nodes=_get(raw, "nodes", int, 1),
        sections_per_block=_get(raw, "sections_per_block", int, 1),
        memhp_default_state=labels[label],
        hypervisor=_get(raw, "hypervisor", str, ""),
        memmap_start=_first_pfn(_get(raw, "memmap_start", int, None)),
        **{n: _get(raw, n, bool, default) for n, default in _switches().items()},
    )
    _refuse_huge([*(r for r, _ in boot.ram)], geometry, "boot: ram")
    _refuse_huge([*boot.window], geometry, "boot: window")
    _refuse_huge([*boot.reserved], geometry, "boot: reserved")
    _refuse_huge([r for _, r in boot.firmware], geometry, "boot: firmware")
    boot.validate(geometry)
    return boot


def _switches() -> dict[str, bool]:
    """Yes-or-no kernel parameters with their defaults."""
    return {
        f.name: f.default for f in dataclasses.fields(BootLayout) if isinstance(f.default, bool)
    }


def shown(value: object) -> str:
    """*value*, short enough for an error message."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of a trace")


def _no_duplicate(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is given twice in one object")
    return unique


def _refuse_depth(raw: dict[str, Any]) -> None:
    level: list[Any] = [raw]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise UserError("JSON is nested too deeply to be a trace")


def _pretty(name: str, value: object) -> str:
    if name == "events" and isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(event)}" for event in value) + "\n  ]"
    return json.dumps(value)


def _events(raw: list[Any], geometry: Geometry) -> tuple[Op, ...]:
    if len(raw) > MAX_EVENTS:
        raise UserError(f"trace has {len(raw)} events; at most {MAX_EVENTS} are read")
    events = tuple(Op.from_json(event) for event in raw)
    touched = [pfns for event in events for pfns in event.pfns_touched()]
    _refuse_huge(touched, geometry, "events")
    return events


def _refuse_work(boot: BootLayout, events: tuple[Op, ...], geometry: Geometry) -> None:
    """Every milestone costs a look at every section, and a section has some four."""
    touched = [geometry.sections_of(p) for event in events for p in event.pfns_touched()]
    at_boot = [geometry.sections_of(pfns) for pfns, _ in boot.ram]
    sections = len(set().union(*touched, *at_boot))
    milestones = 4 * (len(events) + sum(map(len, touched)))
    if milestones * (64 + sections) > MAX_WORK:
        raise UserError(
            f"trace has {len(events)} events over {sections} sections: too much to replay"
        )


def _refuse_huge(ranges: list[PfnRange], geometry: Geometry, where: str) -> None:
    for pfns in ranges:
        if pfns.start_pfn < 0 or pfns.end_pfn < 0:
            raise UserError(f"{where}: pfn range {pfns} is negative")
    if sum(len(geometry.sections_of(pfns)) for pfns in ranges) > MAX_SECTIONS:
        raise UserError(f"{where}: the ranges span more than {MAX_SECTIONS} sections")


def _get(raw: dict[str, Any], name: str, kind: type, *default: Any) -> Any:
    if name not in raw:
        if default:
            return default[0]
        raise UserError(f"field {name!r} is missing")
    value = raw[name]
    nullable = bool(default) and default[0] is None
    if type(value) is not kind and not (value is None and nullable):
        raise UserError(f"field {name!r}: expected {kind.__name__}, found {shown(value)}")
    return value


def _only(raw: dict[str, Any], known: set[str], where: str) -> None:
    for name in raw.keys() - known:
        raise UserError(f"{where}: {unknown('field', name, known)}")


def _names(raw: list[Any], where: str) -> tuple[str, ...]:
    if len(raw) > 100 or not all(isinstance(name, str) for name in raw):
        raise UserError(f"{where}: expected at most 100 names")
    return tuple(raw)


def _invariants(raw: list[Any]) -> tuple[str, ...]:
    names = _names(raw, "violates")
    for name in names:
        _ = INVARIANTS[name]
    return tuple(sorted(set(names)))


def _found(raw: dict[str, Any]) -> dict[str, str | int]:
    for name, value in raw.items():
        if type(value) not in (str, int):
            raise UserError(f"found.{name[:40]}: expected str or int, found {shown(value)}")
    return raw


def _rows(raw: dict[str, Any], name: str, length: int) -> list[list[Any]]:
    optional = name in ("firmware", "reserved")
    rows = _get(raw, name, list, []) if optional else _get(raw, name, list)
    if len(rows) > 100 or not all(isinstance(r, list) and len(r) == length for r in rows):
        raise UserError(f"boot: {name} must be at most 100 lists of {length}")
    return list(rows)


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > 80:
        raise UserError(f"boot: expected a region's name, found {shown(value)}")
    return value


def _range(pair: list[Any]) -> PfnRange:
    return PfnRange(_int(pair[0]), _int(pair[1]))


def _int(value: object) -> int:
    if type(value) is not int or not -MAX_PFN < value < MAX_PFN:
        raise UserError(f"expected a pfn or a node, found {shown(value)}")
    return value


def _first_pfn(value: int | None) -> int | None:
    if value is not None and not 0 <= value < MAX_PFN:
        raise UserError(f"boot: expected a pfn for memmap_start, found {shown(value)}")
    return value


def _pair(pfns: PfnRange) -> list[int]:
    return [pfns.start_pfn, pfns.end_pfn]
