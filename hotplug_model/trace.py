"""Traces: what happened, as data, and how to make it happen again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Outcome, Violation
from hotplug_model.errors import UserError
from hotplug_model.flags import OnlineType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import unknown

FORMAT = 1
MAX_BYTES = 1 << 20
MAX_EVENTS = 10_000
MAX_SECTIONS = 1 << 12
"""Sections that one range of a trace may span: what a reader must survive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole run: the machine, the kernel, the events and what they should break."""

    geometry: str
    boot: BootLayout
    release: str | None = None
    changes: tuple[str, ...] = ()
    strict: bool = False
    """Whether known defects of mainline count."""
    events: tuple[Op, ...] = ()
    violates: tuple[str, ...] = ()
    """Invariants that the last event breaks, sorted; with no event, that boot breaks."""
    title: str = ""
    postmortem: str = ""
    """What the code did, and what it should do."""
    found: dict[str, str | int] = field(default_factory=dict)
    """How it was found: versions, seed, command. Never read."""

    def variant(self) -> KernelVariant:
        """The kernel that the trace breaks."""
        return KernelVariant.named(self.release, self.changes)

    def machine(self, variant: KernelVariant | None = None) -> Checker:
        """A freshly booted machine, of *variant* if given."""
        rules = (variant or self.variant()).rules()
        kernel = Kernel.boot(GEOMETRIES[self.geometry], rules, self.boot)
        return Checker(kernel, self.strict)

    def dumps(self) -> str:
        """The canonical text: equal traces are equal bytes."""
        text = {
            "format": FORMAT,
            "title": self.title,
            "postmortem": self.postmortem,
            "kernel": {"release": self.release, "changes": list(self.changes)},
            "strict": self.strict,
            "geometry": self.geometry,
            "boot": boot_to_json(self.boot),
            "events": [event.to_json() for event in self.events],
            "violates": list(self.violates),
            "found": self.found,
        }
        lines = [f"  {json.dumps(name)}: {_pretty(name, value)}" for name, value in text.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read a trace; :class:`UserError`, one line, for anything that is none."""
        raw = parse_json(text)
        _only(raw, {
            "format", "title", "postmortem", "kernel", "strict", "geometry", "boot", "events",
            "violates", "found",
        }, "trace")  # fmt: skip
        version = _get(raw, "format", int)
        if version != FORMAT:
            raise UserError(f"trace format {version}; this reads formats 1 to {FORMAT}")
        kernel = _get(raw, "kernel", dict)
        _only(kernel, {"release", "changes"}, "kernel")
        name = _get(raw, "geometry", str)
        geometry = GEOMETRIES[name]
        boot = boot_from_json(_get(raw, "boot", dict), geometry)
        events = _get(raw, "events", list)
        if len(events) > MAX_EVENTS:
            raise UserError(f"trace has {len(events)} events; at most {MAX_EVENTS} are read")
        trace = cls(
            geometry=name,
            boot=boot,
            release=_get(kernel, "release", str, None),
            changes=_names(_get(kernel, "changes", list), "changes"),
            strict=_get(raw, "strict", bool, False),
            events=tuple(_event(event, geometry) for event in events),
            violates=_names(_get(raw, "violates", list), "violates"),
            title=_get(raw, "title", str, ""),
            postmortem=_get(raw, "postmortem", str, ""),
            found=_get(raw, "found", dict, {}),
        )
        refuse_code(trace.changes)
        trace.variant()
        return trace


def refuse_code(changes: tuple[str, ...]) -> None:
    """A trace may name registered changes only: it must never run code of its own."""
    for name in changes:
        if ":" in name:
            raise UserError(
                f"trace names the change {name[:60]!r}, which is code; pass it with --change"
            )


def replay(
    trace: Trace, variant: KernelVariant | None = None
) -> tuple[int | None, list[Violation]]:
    """Index of the first event that violates something, and what it violates.

    -1 stands for the boot, None for a trace that nothing violates.
    """
    checker = trace.machine(variant)
    if found := checker.boot():
        return -1, found
    for index, event in enumerate(trace.events):
        outcome: Outcome = checker.apply(event)
        if outcome.violations:
            return index, outcome.violations
    return None, []


def broken(violations: list[Violation]) -> tuple[str, ...]:
    """Names of the invariants that are violated, sorted."""
    return tuple(sorted({violation.invariant for violation in violations}))


def boot_to_json(boot: BootLayout) -> dict[str, Any]:
    """Plain JSON; :func:`boot_from_json` gives the equal layout back."""
    plain = {f.name: getattr(boot, f.name) for f in dataclasses.fields(BootLayout)}
    plain["ram"] = [[*_pair(pfns), nid] for pfns, nid in boot.ram]
    plain["window"] = [_pair(pfns) for pfns in boot.window]
    plain["firmware"] = [[name, *_pair(pfns)] for name, pfns in boot.firmware]
    plain["memhp_default_state"] = boot.memhp_default_state.label
    return plain


def boot_from_json(raw: dict[str, Any], geometry: Geometry) -> BootLayout:
    """The layout that *raw* describes, valid for *geometry*; else :class:`UserError`."""
    names = {f.name for f in dataclasses.fields(BootLayout)}
    _only(raw, names, "boot")
    labels = {each.label: each for each in OnlineType}
    label = _get(raw, "memhp_default_state", str, "offline")
    if label not in labels:
        raise UserError("boot: " + unknown("memhp_default_state", label, labels))
    boot = BootLayout(
        ram=tuple((_range(r[:2]), _int(r[2])) for r in _rows(raw, "ram", 3)),
        window=tuple(_range(r) for r in _rows(raw, "window", 2)),
        firmware=tuple((str(r[0])[:80], _range(r[1:])) for r in _rows(raw, "firmware", 3)),
        nodes=_get(raw, "nodes", int, 1),
        sections_per_block=_get(raw, "sections_per_block", int, 1),
        memhp_default_state=labels[label],
        **{
            flag: _get(raw, flag, bool, default)
            for flag, default in (
                ("movable_node", False), ("memmap_on_memory", False),
                ("holes_in_zone", False), ("page_poisoning", True),
            )
        },
    )  # fmt: skip
    for pfns in (*(r for r, _ in boot.ram), *boot.window, *(r for _, r in boot.firmware)):
        _refuse_huge(pfns, geometry, "boot")
    boot.validate(geometry)
    return boot


def parse_json(text: str) -> dict[str, Any]:
    """The JSON object that *text* is; else :class:`UserError` with the reason."""
    if len(text) > MAX_BYTES:
        raise UserError(f"file is larger than {MAX_BYTES} bytes; that is no trace")
    try:
        raw = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise UserError("JSON is nested too deeply to be a trace") from None
    except ValueError as error:
        raise UserError(f"not JSON: {str(error)[:120]}") from None
    if not isinstance(raw, dict):
        raise UserError("not a trace: the file holds no JSON object")
    return raw


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of a trace")


def _pretty(name: str, value: object) -> str:
    if name == "events" and isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(event)}" for event in value) + "\n  ]"
    return json.dumps(value)


def _event(raw: object, geometry: Geometry) -> Op:
    event = Op.from_json(raw)
    for pfns in event.pfns_touched():
        _refuse_huge(pfns, geometry, event.op_name())
    return event


def _refuse_huge(pfns: PfnRange, geometry: Geometry, where: str) -> None:
    if pfns.start_pfn < 0 or pfns.end_pfn < 0:
        raise UserError(f"{where}: pfn range {pfns} is negative")
    if pfns.nr_pages > MAX_SECTIONS * geometry.pages_per_section:
        raise UserError(f"{where}: {pfns} spans more than {MAX_SECTIONS} sections")


def _get(raw: dict[str, Any], name: str, kind: type, *default: Any) -> Any:
    value = raw.get(name, *default)
    if default and (value is default[0] or value == default[0] and type(value) is kind):
        return value
    if name not in raw:
        raise UserError(f"field {name!r} is missing")
    if type(value) is not kind:
        raise UserError(f"field {name!r}: expected {kind.__name__}, found {repr(value)[:40]}")
    return value


def _only(raw: dict[str, Any], known: set[str], where: str) -> None:
    for name in raw.keys() - known:
        raise UserError(f"{where}: {unknown('field', str(name), known)}")


def _names(raw: list[Any], where: str) -> tuple[str, ...]:
    if len(raw) > 100 or not all(isinstance(name, str) for name in raw):
        raise UserError(f"{where}: expected at most 100 names")
    return tuple(raw)


def _rows(raw: dict[str, Any], name: str, length: int) -> list[list[Any]]:
    rows = _get(raw, name, list, []) if name == "firmware" else _get(raw, name, list)
    if len(rows) > 100 or not all(isinstance(r, list) and len(r) == length for r in rows):
        raise UserError(f"boot: {name} must be at most 100 lists of {length}")
    return list(rows)


def _range(pair: list[Any]) -> PfnRange:
    return PfnRange(_int(pair[0]), _int(pair[1]))


def _int(value: object) -> int:
    if type(value) is not int or not -(1 << 52) < value < 1 << 52:
        raise UserError(f"expected a pfn or a node, found {repr(value)[:40]}")
    return value


def _pair(pfns: PfnRange) -> list[int]:
    return [pfns.start_pfn, pfns.end_pfn]
