"""``python -m hotplug_model`` and the console script."""

from __future__ import annotations

import signal
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command line *argv* (by default the process's own); its exit code."""
    own = argv is None
    try:
        # Here, so that Ctrl-C is a line even while modules are being imported.
        from hotplug_model.cli import run  # noqa: PLC0415

        code = run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        stay_until_the_end(own)
        print("hotplug-model: interrupted", file=sys.stderr)
        # CPython remembers an interrupt that left an exec(), as dataclasses use while they
        # are imported, and would die of SIGINT in the end; another exec() makes it forget.
        exec("")
        return 130
    stay_until_the_end(own)
    return code


def stay_until_the_end(own: bool) -> None:
    """Ctrl-C, pressed once more, changes the exit code no more if the process is our *own*."""
    if own:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
