"""The command `qnetseg`, also as `python -m qnetseg`: it can be cancelled while its modules are loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """Run a command; returns the exit code."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        print("qnetseg: Cancelled; nothing was written.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
