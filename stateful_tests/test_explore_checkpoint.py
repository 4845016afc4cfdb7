"""A search on disk: it goes on where it was killed, and only if it is the same search."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.errors import UserError
from hotplug_model.explore import Expansion, Exploration, Space, Visited
from hotplug_model.explore import visited as states
from hotplug_model.explore.explored import Explored, explore
from hotplug_model.explore.journal import FRAME, Journal, decoded, digest_of_model, encoded
from hotplug_model.trace import Trace
from stateful_tests.kernels import layout

BLOCKS = ("add_memory", "online_memory_block", "offline_memory_block", "remove_memory")
COLLISION = ("add_memory", "memremap_pages")
COMMAND = [
    "explore", "--boot", "collision", "--depth", "full", "--unusual", "0",
    "--ops", ",".join((*BLOCKS, "veto_memory_notifier")), "--checkpoint", "c", "--json", "-",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def space(ops: tuple[str, ...] = BLOCKS, release: str | None = None) -> Space:
    return Space(
        machines=(Trace(geometry="tiny", boot=layout(), release=release),), ops=ops, unusual=0
    )


def counts(explored: Explored) -> tuple[object, ...]:
    found = explored.exploration
    return len(found.visited), found.depths, found.transitions, found.known, explored.trace


def begun(depth: int = 2) -> Explored:
    return explore(space(), depth, checkpoint=Path("c"))


# Entries


def test_an_entry_holds_all_of_an_expansion() -> None:
    whole = Expansion(
        tried=7, new=((3, b"x" * 16), (5, b"y" * 16)), violating=6, broken=("a", "b"),
        known=Counter({"d": 2}),
    )  # fmt: skip
    assert decoded(encoded(whole)) == whole
    empty = Expansion(tried=0, new=())
    assert decoded(encoded(empty)) == empty


def test_states_are_found_again_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "FEWEST", 2)
    visited, rng = Visited(), random.Random(0)
    # The same first word over and over: all of them want the same place.
    names = [bytes(8 * (nr % 2)) + rng.randbytes(16 - 8 * (nr % 2)) for nr in range(80)]
    assert all(visited.add(number - 1, number % 5, name) for number, name in enumerate(names))
    assert not any(visited.add(-1, 0, name) for name in names)
    assert len(visited) == 80
    assert visited.path(7) == (0, 1, 2, 3, 4, 0, 1, 2)


# Going on


def test_a_search_goes_on_where_its_checkpoint_ends() -> None:
    whole = explore(space())
    for depth in (1, 2, 3, 1 << 30):
        went_on = explore(space(), depth, checkpoint=Path("c"))
    assert counts(went_on) == counts(whole)
    size = Path("c").stat().st_size
    assert counts(begun()) == counts(whole)
    assert Path("c").stat().st_size == size


def test_what_a_checkpoint_holds_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = begun()
    monkeypatch.setattr("hotplug_model.explore.explored.Expander.expand", None)
    assert counts(begun()) == counts(before)


def test_a_counterexample_is_in_the_checkpoint() -> None:
    first = explore(space(COLLISION, "5.11"), checkpoint=Path("c"))
    again = explore(space(COLLISION, "5.11"), checkpoint=Path("c"))
    assert first.trace is not None
    assert counts(again) == counts(first)


@pytest.mark.unmeasured
def test_whatever_a_kill_leaves_of_an_entry_is_cut_off() -> None:
    whole = explore(space(), checkpoint=Path("c"))
    content = Path("c").read_bytes()
    begin = content.index(b"\n") + 1
    for at in random.Random(0).sample(range(begin, len(content)), 8):
        Path("c").write_bytes(content[:at])
        assert counts(explore(space(), checkpoint=Path("c"))) == counts(whole)
        assert Path("c").read_bytes() == content


def test_what_follows_a_damaged_entry_is_done_again() -> None:
    whole = explore(space(), checkpoint=Path("c"))
    content = bytearray(Path("c").read_bytes())
    content[content.index(b"\n") + 20] ^= 1
    Path("c").write_bytes(content)
    assert counts(explore(space(), checkpoint=Path("c"))) == counts(whole)


@pytest.mark.unmeasured
def test_a_search_that_is_killed_at_any_instant_loses_nothing_that_it_wrote() -> None:
    whole = json.loads(run(*COMMAND))
    content = Path("c").read_bytes()
    Path("c").unlink()
    begin = content.index(b"\n") + 1
    instants = sorted(random.Random(0).sample(range(begin, len(content) - 200), 4))
    for at in instants:
        run(*COMMAND, "--workers", "2", killed_at=at)
        assert at <= Path("c").stat().st_size < len(content)
    resumed = json.loads(run(*COMMAND))
    assert resumed.pop("seconds") != whole.pop("seconds")
    assert resumed == whole
    assert whole["complete"]
    assert Path("c").read_bytes() == content


def run(*command: str, killed_at: int | None = None, hash_seed: str = "0") -> str:
    """What a command prints, unless it is killed when its checkpoint has so many bytes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hotplug_model", *command], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    with process:
        while killed_at is not None and process.poll() is None:
            if Path("c").exists() and Path("c").stat().st_size >= killed_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)
        return process.communicate()[0]


def test_every_byte_is_the_same_in_any_process_with_any_number_of_workers() -> None:
    written = set()
    for hash_seed, workers in (("1", "1"), ("2", "2")):
        run(*COMMAND, "--depth", "3", "--workers", workers, hash_seed=hash_seed)
        written.add(Path("c").read_bytes())
        Path("c").unlink()
    assert len(written) == 1


# Refusing


OTHERS: dict[str, tuple[Callable[[Space], Space], str]] = {
    "ops": (lambda of: replace(of, ops=("add_memory",)), "ops"),
    "unusual": (lambda of: replace(of, unusual=1), "unusual"),
    "faults": (lambda of: replace(of, faults=True), "faults"),
    "symmetry": (lambda of: replace(of, symmetry=False), "symmetry"),
    "kernel": (lambda of: space(release="5.11"), "machines"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_search_is_refused(name: str) -> None:
    begun(depth=0)
    change, said = OTHERS[name]
    before = Path("c").read_bytes()
    with pytest.raises(UserError, match=rf"another search \({said}\)"):
        explore(change(space()), checkpoint=Path("c"))
    assert Path("c").read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    begun(depth=0)
    monkeypatch.setattr("hotplug_model.explore.journal.digest_of_model", lambda changes: "other")
    with pytest.raises(UserError, match="another version of the model"):
        begun()


def test_the_digest_of_a_model_depends_on_the_users_own_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(os.getcwd())
    Path("patch_of_mine.py").write_text("def change(rules):\n    return rules\n")
    first = digest_of_model(("patch_of_mine:change",))
    Path("patch_of_mine.py").write_text("def change(rules):\n    return rules  # otherwise\n")
    assert digest_of_model(("patch_of_mine:change",)) != first
    assert digest_of_model(("1f90a3477df3",)) == digest_of_model(())


def test_an_entry_more_than_there_was_to_try_is_refused() -> None:
    explore(space(), checkpoint=Path("c"))
    with Path("c").open("ab") as file:
        file.write(entry(encoded(Expansion(tried=1, new=()))))
    with pytest.raises(UserError, match="checkpoint c: holds more than there was to try"):
        explore(space(), checkpoint=Path("c"))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (encoded(Expansion(tried=1, new=()))[:-1], "has a damaged entry"),
        (encoded(Expansion(tried=1, new=())).replace(b"[[], {}]", b"null"), "has a damaged entry"),
        (encoded(Expansion(tried=1, new=(), violating=9999)), "names operations that are none"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(payload: bytes, said: str) -> None:
    explore(space(), 0, checkpoint=Path("c"))
    with Path("c").open("ab") as file:
        file.write(entry(payload))
    with pytest.raises(UserError, match=f"checkpoint c: {said}"):
        explore(space(), checkpoint=Path("c"))


def entry(payload: bytes) -> bytes:
    """*payload* as a journal frames it."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def test_how_much_of_a_checkpoint_was_no_use_is_known() -> None:
    begun()
    with Path("c").open("ab") as file:
        file.write(b"half an entry")
    assert begun(3).cut == len(b"half an entry")


def test_what_was_found_outlives_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(journal: Journal, expansion: Expansion) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "write", full)
    written: list[Trace] = []
    found = explore(
        space(COLLISION, "5.11"), checkpoint=Path("c"), on_found=written.append
    )
    assert found.trace is not None
    assert written[-1] == found.trace
    assert found.verdict == "violated"
    held = explore(space(), checkpoint=Path("d"))
    assert (held.verdict, held.stopped) == ("stopped", "No space left on device")
    assert held.exploration.expanded > 0


def test_a_pipe_is_no_checkpoint() -> None:
    os.mkfifo("pipe")
    with pytest.raises(UserError, match="checkpoint pipe: is no file"):
        explore(space(), checkpoint=Path("pipe"))


@pytest.mark.parametrize("content", ["", "x", "{}\n", "[1]\n", "\0" * 99])
def test_a_file_that_is_no_checkpoint_is_left_alone(content: str) -> None:
    Path("c").write_text(content)
    with pytest.raises(UserError, match="is no checkpoint"):
        begun()
    assert Path("c").read_text() == content


def test_a_checkpoint_that_cannot_be_is_the_users_mistake() -> None:
    Path("d").mkdir()
    for path in ("d", "nowhere/c"):
        with pytest.raises(UserError, match=f"checkpoint {path}: "):
            explore(space(), 0, checkpoint=Path(path))


def test_two_searches_do_not_share_a_checkpoint() -> None:
    journal = Journal(Path("c"), space())
    with pytest.raises(UserError, match="another process uses it"):
        begun()
    journal.close()
    assert begun().verdict == "held"


def test_an_interrupt_ends_a_search_between_two_states() -> None:
    def interrupt(exploration: Exploration) -> None:
        if exploration.expanded == 3:
            raise KeyboardInterrupt

    explored = explore(space(), checkpoint=Path("c"), on_step=interrupt)
    assert explored.interrupted
    assert explored.exploration.expanded == 3
    assert counts(explore(space(), checkpoint=Path("c"))) == counts(explore(space()))
