"""The command line: `qnetseg COMMAND ...`, one module a command.

Exit codes: 0 done, 2 an input or an option that cannot be used, 130 cancelled, 1 a fault of the program.
Nothing heavy is imported here nor by the modules' `add`, so that help and version come at once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..cores import let_waiting_threads_sleep
from ..errors import Cancelled, QNetSegmentError
from ..worker.protocol import WorkerFailure
from . import bench, compare, data, demo, doctor, evaluate, report, segment, train, weights
from .common import say

DESCRIPTION = """\
Segments a structure in a whole volume from one drawn slice.

  qnetseg doctor                                          is everything there?
  qnetseg demo                                            see it work on a brain scan
  qnetseg segment scan.nii.gz --mask drawing.nii.gz --output result.seg.nrrd"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="qnetseg", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"qnetseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (segment, demo, doctor, weights, data, train, evaluate, compare, bench, report):
        module.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. What goes wrong is said in one line on stderr."""
    let_waiting_threads_sleep()
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as left:  # argparse has said why
        return left.code if isinstance(left.code, int) else 0
    try:
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        return _end("Cancelled; nothing was written.", Cancelled.exit_code, arguments.debug)
    except WorkerFailure as error:
        if arguments.debug and error.details:
            say(error.details)
        return _end(str(error), 1, arguments.debug)
    except QNetSegmentError as error:
        return _end(str(error), error.exit_code, arguments.debug)
    except Exception as error:  # the last resort: a sentence instead of a traceback
        name = type(error).__name__
        return _end(
            f"Something failed inside the program ({name}: {error}). Report it together with the output "
            "of the same command with --debug.",
            1,
            arguments.debug,
        )


def _end(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    say(" ".join(sentence.split()))
    return code
