"""``python -m hotplug_model`` and the console script."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command line *argv* (by default the process's own); its exit code."""
    try:
        # Here, so that Ctrl-C is a line even while modules are being imported.
        from hotplug_model.cli import run  # noqa: PLC0415

        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("hotplug-model: interrupted", file=sys.stderr)
        # CPython remembers an interrupt that left an exec(), as dataclasses use while they
        # are imported, and would die of SIGINT in the end; another exec() makes it forget.
        exec("")
        return 130


if __name__ == "__main__":
    sys.exit(main())
