"""Machines that differ in numbering only: map ids, node ids, sections.

A renumbering is a symmetry if every operation does to the renumbered machine what it does
to the other, renumbered. Then both have the same future, and a search needs only one of
them. Which may be renumbered:

- **Map ids**, always: an id only says which map is meant.
- **Nodes without memory at boot**, but node 0, whose number free struct pages hold.
- **Sections** that were absent at boot, if nothing tells them apart: see
  :func:`equal_sections`. Where they lie in a zone's span, or next to each other, does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, permutations, product
from typing import Any

from hotplug_model.flags import OnlineType, PageContent
from hotplug_model.geometry import Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.ops.memory_block import OfflineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.op import Op
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import Resource
from hotplug_model.state.runs import RunTable
from hotplug_model.state.zone import CONTIGUOUS

NO_PGMAP = -1
BLIND_TO_PLACE = frozenset(
    {
        AddMemory, RemoveMemory, OfflineMemoryBlock, OfflineAndRemoveMemory,
        VetoMemoryNotifier, PinPages, UnpinPages,
    }
)  # fmt: skip
"""Operations that put no section into a zone, and on one memory block look at no other."""


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Old numbers to new ones; what is not mentioned keeps its number. Each is a bijection."""

    pgmaps: Mapping[int, int] = field(default_factory=dict)
    nodes: Mapping[int, int] = field(default_factory=dict)
    sections: Mapping[int, int] = field(default_factory=dict)

    def pfns(self, geometry: Geometry, pfns: PfnRange) -> PfnRange | None:
        """Where *pfns* go; None if they are torn apart."""
        shifts = {
            self.sections.get(nr, nr) - nr
            for nr in geometry.sections_of(pfns) or [geometry.section_nr(pfns.start_pfn)]
        }
        if len(shifts) > 1:
            return None
        shift = shifts.pop() * geometry.pages_per_section
        return PfnRange(pfns.start_pfn + shift, pfns.end_pfn + shift)

    def op(self, geometry: Geometry, op: Op) -> Op | None:
        """*op* under the new numbers; None if a range of it is torn apart.

        Memory blocks are single sections where sections are renumbered.
        """
        new: dict[str, Any] = {}
        for name, value in op.arguments().items():
            new[name] = self._argument(geometry, name, value)
            if new[name] is None:
                return None
        return replace(op, **new)

    def _argument(self, geometry: Geometry, name: str, value: Any) -> Any:
        named = {"pgmap_id": self.pgmaps, "nid": self.nodes, "block_id": self.sections}
        if name in named:
            return named[name].get(value, value)
        if isinstance(value, PfnRange):
            return self.pfns(geometry, value)
        if isinstance(value, tuple):
            parts = tuple(self._argument(geometry, "", each) for each in value)
            return None if None in parts else parts
        return value


def canonical(kernel: Kernel, sections: Sequence[int] = ()) -> bytes:
    """A fingerprint that renumbered machines share, and no others.

    *sections* are those that nothing tells apart.
    """
    nodes = node_order(kernel)
    return min(
        in_order(renumbered(kernel, Renumbering(maps, nodes)), sections).fingerprint()
        for maps in map_orders(kernel)
    )


def map_orders(kernel: Kernel) -> Iterator[dict[int, int]]:
    """Ways to number the maps by what they hold: more than one if some hold the same.

    # Simplified: none, if a struct page in use names a map that is gone. That could be
    taken for the next map with its number.
    """
    pgmaps = kernel.pgmaps
    table = kernel.pfns
    in_use = table.column("page_pgmap")[table.column("content") == PageContent.INITIALISED]
    named = {*in_use.tolist(), *table.column("pgmap_array").tolist()} - {NO_PGMAP}
    if not named <= pgmaps.keys():
        yield {pgmap_id: pgmap_id for pgmap_id in pgmaps}
        return
    def held(pgmap_id: int) -> tuple[int, ...]:
        return pgmaps[pgmap_id].numbers()

    alike = [list(same) for _, same in groupby(sorted(pgmaps, key=held), held)]
    for parts in product(*map(permutations, alike)):
        yield {old: new for new, old in enumerate(chain.from_iterable(parts))}


def node_order(kernel: Kernel) -> dict[int, int]:
    """The nodes without memory at boot, numbered by what they hold now."""
    equal = equal_nodes(kernel)
    held = sorted(equal, key=lambda nid: held_by_node(kernel, nid))
    return dict(zip(held, equal, strict=True))


def held_by_node(kernel: Kernel, nid: int) -> bytes:
    """All that a node holds. No two nodes hold the same, unless both hold nothing."""
    blocks = [block_id for block_id, block in sorted(kernel.blocks.items()) if block.nid == nid]
    maps = sorted(pgmap.ranges for pgmap in kernel.pgmaps.values() if pgmap.nid == nid)
    rows = kernel.pfns.start_pfn[kernel.pfns.column("nid") == nid].tolist()
    zones = kernel.nodes.zone_cells[nid, :, :CONTIGUOUS].tolist()
    numbers = kernel.nodes.node_cells[nid].tolist(), zones
    lends = kernel.lender is not None and kernel.lender.nid == nid
    return repr((blocks, maps, rows, numbers, lends)).encode()


def equal_nodes(kernel: Kernel) -> list[int]:
    """Nodes that nothing but their number tells apart at boot."""
    with_ram = {nid for _, nid in kernel.layout.ram}
    return [nid for nid in kernel.nodes if nid and nid not in with_ram]


def equal_sections(kernel: Kernel, kinds: Iterable[type[Op]], unusual: int) -> list[int]:
    """Sections that operations of *kinds*, drawn with *unusual* choices, cannot tell apart.

    None unless memory only comes and goes a block at a time, never into a zone, and each
    section has its own mappings of vmemmap: all else looks at neighbours or at spans.
    """
    geometry, layout, rules = kernel.geometry, kernel.layout, kernel.rules
    marks = rules.unused_vmemmap is not None and rules.unused_vmemmap.uses_marks
    alone = geometry.pages_per_section * geometry.struct_page_bytes % (1 << geometry.pmd_shift)
    blind = set(kinds) <= BLIND_TO_PLACE and unusual == 0
    plain = layout.sections_per_block == 1 and not layout.memmap_on_memory
    offline = layout.memhp_default_state == OnlineType.MMOP_OFFLINE
    if marks or alone or not (blind and plain and offline):
        return []
    if rules.zones_at_add or not rules.remove_pfn_range_from_zone_at_offline:
        return []
    taken = [*(pfns for pfns, _ in layout.ram), *(pfns for _, pfns in layout.firmware)]
    return [
        geometry.section_nr(section.start_pfn)
        for pfns in layout.window
        for section in geometry.section_chunks(pfns)
        if not any(section.overlaps(each) for each in taken)
    ]


def in_order(kernel: Kernel, sections: Sequence[int]) -> Kernel:
    """*kernel* with *sections* sorted by what they hold."""
    if len(sections) < 2 or kernel.ledger.breaches:
        return kernel
    held = sorted(sections, key=lambda nr: held_by(kernel, nr))
    moves = {old: new for old, new in zip(held, sections, strict=True) if old != new}
    return renumbered(kernel, Renumbering(sections=moves)) if moves else kernel


def held_by(kernel: Kernel, section_nr: int) -> bytes:
    """All that a section holds, wherever it lies."""
    pfns = kernel.geometry.section_pfns(section_nr)
    pages = kernel.geometry.memmap_of(pfns)
    rows = [*rows_of(kernel.pfns, pfns), *rows_of(kernel.vmemmap, pages)]
    regions = [
        (child.name, child.pfns.start_pfn - pfns.start_pfn, child.pfns.nr_pages)
        for child in kernel.iomem.children
        if pfns.contains(child.pfns)
    ]
    block = kernel.blocks.get(section_nr)
    said = [(part.start_pfn, part.end_pfn, row.tobytes()) for part, row in rows]
    return repr((said, regions, block.numbers() if block else None)).encode()


def rows_of(table: RunTable, pfns: PfnRange) -> list[tuple[PfnRange, Any]]:
    """The runs of a table within *pfns*, counted from the first of these, and their cells."""
    runs = table.overlapping(pfns)
    starts, ends = table.start_pfn[runs].tolist(), table.end_pfn[runs].tolist()
    parts = [PfnRange(*ends_).intersection(pfns) for ends_ in zip(starts, ends, strict=True)]
    base = pfns.start_pfn
    return [
        (PfnRange(part.start_pfn - base, part.end_pfn - base), row.copy())
        for part, row in zip(parts, table.cells[runs], strict=True)
    ]


def renumbered(kernel: Kernel, to: Renumbering) -> Kernel:
    """A copy of *kernel* under new numbers. Sections have their vmemmap to themselves."""
    twin = kernel.snapshot()
    renumber_maps(twin, to.pgmaps)
    renumber_nodes(twin, to.nodes)
    for old, new in to.sections.items():
        move_section(kernel, twin, old, new)
    if to.sections:
        twin.iomem.children.sort(key=lambda child: child.pfns.start_pfn)
        twin.pfns.merge()
        twin.vmemmap.merge()
    return twin


def renumber_maps(kernel: Kernel, new: Mapping[int, int]) -> None:
    """Give maps new ids, in place. What retired struct pages say of a map nobody reads.

    Where none is in use an id that is not in *new* is none.
    """
    table = kernel.pfns
    retired = table.column("content") != PageContent.INITIALISED
    table.column("page_pgmap")[retired] = NO_PGMAP
    table.merge()
    kernel.pgmaps = {new.get(old, old): pgmap for old, pgmap in kernel.pgmaps.items()}
    for name in ("page_pgmap", "pgmap_array"):
        replace_numbers(table.column(name), new)


def renumber_nodes(kernel: Kernel, new: Mapping[int, int]) -> None:
    """Give nodes new ids, in place."""
    if all(old == now for old, now in new.items()):
        return
    before = kernel.nodes.copy()
    for old, now in new.items():
        kernel.nodes.node_cells[now] = before.node_cells[old]
        kernel.nodes.zone_cells[now] = before.zone_cells[old]
    replace_numbers(kernel.pfns.column("nid"), new)
    replace_numbers(kernel.memblock.nid, new)
    for block in kernel.blocks.values():
        block.nid = new.get(block.nid, block.nid)
    for pgmap in kernel.pgmaps.values():
        pgmap.nid = new.get(pgmap.nid, pgmap.nid)
    if kernel.lender is not None:
        kernel.lender.nid = new.get(kernel.lender.nid, kernel.lender.nid)


def replace_numbers(column: Any, new: Mapping[int, int]) -> None:
    """Put the new numbers in the place of the old ones, all at once."""
    old = column.copy()
    for number, now in new.items():
        column[old == number] = now


def move_section(kernel: Kernel, twin: Kernel, old: int, new: int) -> None:
    """Put into section *new* of *twin* what section *old* of *kernel* holds."""
    geometry = kernel.geometry
    source, target = geometry.section_pfns(old), geometry.section_pfns(new)
    move_rows(kernel.pfns, twin.pfns, source, target)
    move_rows(
        kernel.vmemmap, twin.vmemmap, geometry.memmap_of(source), geometry.memmap_of(target)
    )
    shift = target.start_pfn - source.start_pfn
    twin.iomem.children = [c for c in twin.iomem.children if not target.contains(c.pfns)]
    twin.iomem.children += [
        Resource(c.name, PfnRange(c.pfns.start_pfn + shift, c.pfns.end_pfn + shift), c.busy)
        for c in kernel.iomem.children
        if source.contains(c.pfns)
    ]
    twin.blocks.pop(new, None)
    if old in kernel.blocks:
        twin.blocks[new] = kernel.blocks[old].copy()


def move_rows(table: RunTable, twin: RunTable, source: PfnRange, target: PfnRange) -> None:
    """Put the runs of *source* in *table* where *target* is in *twin*."""
    for part, row in rows_of(table, source):
        base = target.start_pfn
        runs = twin.cut(PfnRange(base + part.start_pfn, base + part.end_pfn))
        twin.cells[runs] = row

