"""A developer's own walker, named on the command line as ``module:function``; and what a
change of their own may say of walkers."""

from __future__ import annotations

import importlib

from hotplug_model.errors import UserError
from hotplug_model.registry import unknown
from hotplug_model.rules import KernelRules
from hotplug_model.walkers.page_isolation import FIRST
from hotplug_model.walkers.proc_kcore import KERN_ADDR_VALID
from hotplug_model.walkers.virtio_mem import BIG_BLOCKS
from hotplug_model.walkers.walker import READERS, WALKERS, Scan, walker


def find_reader(name: str) -> str:
    """*name*, once it is known: a registered walker, or a function of the user's.

    The function takes :class:`Extents` and returns the rows that are read. Decorated with
    :func:`walker` it also says what it holds and whether it asks pfn_valid(); undecorated
    it holds nothing and asks pfn_to_online_page().
    """
    if ":" not in name or name in READERS:
        _ = READERS[name]
        return name
    module_name, _, function_name = name.partition(":")
    try:
        scan: Scan = getattr(importlib.import_module(module_name), function_name)
        if not callable(scan):
            raise TypeError("it is no function")
    except (Exception, SystemExit) as error:
        raise UserError(f"walker {name!r}: {type(error).__name__}: {error}") from None
    known = {reader.reads: reader for reader in READERS}
    if scan not in known:
        if scan.__name__ in READERS:
            raise UserError(f"walker {name!r}: another one is called {scan.__name__}")
        walker(module_name, believes="an online page")(scan)
        known[scan] = READERS[scan.__name__]
    READERS.add(name, known[scan])
    return name


def who_may_ask() -> list[str]:
    """Kernel functions of which ``KernelRules.asks_pfn_valid`` can say something."""
    return [*WALKERS.names(), FIRST, BIG_BLOCKS, KERN_ADDR_VALID]


def refuse_unknown_askers(change: str, rules: KernelRules) -> None:
    """Raise :class:`UserError` if the *rules* of a change let a function ask pfn_valid() that
    there is not."""
    known = who_may_ask()
    for name in sorted(map(str, set(rules.asks_pfn_valid) - set(known))):
        raise UserError(
            f"change {change!r}: rule 'asks_pfn_valid': {unknown('walker', name, known)}"
        )
