"""What is asked for is done if it can be done, and refused only if it cannot."""

from __future__ import annotations

from typing import Protocol, cast

from hotplug_model.errors import KernelRefusal
from hotplug_model.invariants.answer import Answer, Arguments
from hotplug_model.invariants.answers_blocks import ANSWERS_OF_BLOCKS
from hotplug_model.invariants.answers_drivers import ANSWERS_OF_DRIVERS
from hotplug_model.invariants.answers_pages import ANSWERS_OF_PAGES
from hotplug_model.invariants.invariant import across
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange

ANSWERS = ANSWERS_OF_BLOCKS | ANSWERS_OF_PAGES | ANSWERS_OF_DRIVERS
"""Operation -> how it is answered. Of others nothing is demanded."""


class Request(Protocol):
    """An operation, as far as it is judged here."""

    @property
    def fail_at(self) -> str | None:
        """The allocation that fails, if any: then a request may be refused for that."""

    @classmethod
    def op_name(cls) -> str:
        """Its name."""

    def arguments(self) -> Arguments:
        """What was asked for, by name."""


@across
def requests_are_refused_for_a_reason(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """The kernel refuses a request, and the machine gives no reason for that errno.

    Source: add_memory_resource(), try_remove_memory(), online_pages(), offline_pages() in
    mm/memory_hotplug.c; state_store() in drivers/base/memory.c; memremap_pages().
    """
    if refusal is None:
        return []
    answer, asked = asked_for(after)
    if answer is None or asked["fail_at"]:
        return []
    return [] if refusal.errno in answer.reasons(before, asked) else named(after, asked)


@across
def requests_that_cannot_be_met_are_refused(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """The kernel grants a request that it has to refuse.

    Source: register_memory_resource(), try_remove_memory() and offline_pages() in
    mm/memory_hotplug.c; state_store() in drivers/base/memory.c; pagemap_range().
    """
    if refusal is not None:
        return []
    answer, asked = asked_for(after)
    if answer is None:
        return []
    return named(after, asked) if any(answer.obstacles(before, asked)) else []


@across
def requests_that_are_granted_are_carried_out(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """The kernel says that it did what it was asked for, and did not.

    Source: add_memory_resource(), try_remove_memory(), online_pages() and offline_pages()
    in mm/memory_hotplug.c; pagemap_range() and pageunmap_range() in mm/memremap.c;
    dev_dax_kmem_probe() in drivers/dax/kmem.c; virtio_mem_run_wq() in
    drivers/virtio/virtio_mem.c; handle_pg_range() in drivers/hv/hv_balloon.c.
    """
    if refusal is not None:
        return []
    answer, asked = asked_for(after)
    if answer is None:
        return []
    return list(answer.undone(before, after, asked))


def asked_for(kernel: Kernel) -> tuple[Answer | None, Arguments]:
    """How the last operation is to be answered, if that is known, and its arguments."""
    if isinstance(kernel.ledger.operation, str):
        return None, {}
    request = cast(Request, kernel.ledger.operation)
    return ANSWERS.get(request.op_name()), request.arguments() | {"fail_at": request.fail_at}


def named(kernel: Kernel, asked: Arguments) -> list[PfnRange]:
    """What the request was about, as far as there are such pfns."""
    if "block_id" in asked:
        return [kernel.block_pfns(asked["block_id"])]
    if "pfn" in asked:
        return [PfnRange(asked["pfn"], asked["pfn"] + 1)]
    ranges = asked["ranges"] if "ranges" in asked else [asked["pfns"]] if "pfns" in asked else []
    return [pfns for pfns in ranges if pfns.nr_pages > 0] or [kernel.geometry.all_pfns]
