"""Which invariants are asked at a look, and what of a machine their answers depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from hotplug_model.boot import BootLayout
from hotplug_model.invariants import Invariant
from hotplug_model.parts import FACTS, PARTS


class Questions:
    """What is asked at some milestones, and which sets of parts that depends on."""

    def __init__(self, kind: bytes, asked: Iterable[Invariant]) -> None:
        self.kind = kind
        self.asked = tuple(each for each in asked if each.across is None)
        self.reads: dict[frozenset[str], tuple[bytes, list[str]]] = {}
        """With what tells the sets and those that ask apart."""
        self._askers: dict[frozenset[str], list[int]] = {}
        """Indices in :attr:`asked` of those that depend on each set."""
        for number, each in enumerate(self.asked):
            self._askers.setdefault(each.reads, []).append(number)
        for reads, askers in self._askers.items():
            names = ",".join(self.asked[number].name for number in askers)
            self.reads[reads] = digest(names.encode()), sorted(reads)
        self._held: dict[str, bytes] = {}
        """What parts and facts held at the last look."""
        self._broken: set[frozenset[str]] = set()
        """Sets of parts of which something was broken then."""

    def changed(
        self, held: dict[str, bytes]
    ) -> list[tuple[frozenset[str], tuple[bytes, list[str]]]]:
        """Entries of :attr:`reads` of which it is not known that they are sound."""
        changed = {name for name, each in held.items() if self._held.get(name) != each}
        unsure = self._broken
        return [e for e in self.reads.items() if e[0] in unsure or not changed.isdisjoint(e[0])]

    def of(self, unsure: Iterable[frozenset[str]]) -> list[Invariant]:
        """Those asked that depend on one of the *unsure* sets of parts, in their order."""
        numbers = sorted(number for reads in unsure for number in self._askers[reads])
        return [self.asked[number] for number in numbers]

    def note(self, held: dict[str, bytes], broken: set[frozenset[str]]) -> None:
        """All that depends on what is *held* was judged; only *broken* are not sound."""
        self._held, self._broken = held, broken


def parts_read(invariants: Iterable[Invariant]) -> list[str]:
    """The parts that some of *invariants* depend on, itself or by a fact."""
    reads = {name for each in invariants if each.across is None for name in each.reads}
    read = {FACTS[name][0] if name in FACTS else name for name in reads}
    return [name for name in PARTS if name in read]


def digest(held: bytes) -> bytes:
    """16 bytes that tell *held* from whatever else was ever held."""
    return hashlib.blake2b(held, digest_size=16).digest()


@lru_cache(maxsize=64)
def digest_of(layout: BootLayout) -> bytes:
    """16 bytes that tell how a machine was booted."""
    return digest(repr(layout).encode())


def as_number(state: bytes) -> int:
    """A digest as a number whose bits are as good as random."""
    return int.from_bytes(state[:8])
