"""The command line: `qnetseg COMMAND ...`, one module a command.

The laboratory adds its own commands where it is installed. Nothing heavy is imported here nor by the
modules' `add`, so that help and version come at once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..cores import let_waiting_threads_sleep
from ..errors import Cancelled, QNetSegmentError, is_out_of_memory, why
from ..worker.failures import WorkerFailure
from . import batch, demo, doctor, segment, weights, worker_command
from .common import say
from .completion import add_completion
from .parser import Parser, add_laboratory
from .streams import Ended, forgiving_streams

DESCRIPTION = """\
Segments a structure in a whole volume from one drawn slice.

  qnetseg doctor                                          is everything there?
  qnetseg demo                                            see it work on a brain scan
  qnetseg segment scan.nii.gz --mask drawing.nii.gz --output result.seg.nrrd
  qnetseg batch studies --support patient.nii.gz drawing.nii.gz --output results"""

EXIT_CODES = """\
exit codes:
  0    done
  1    a fault of the program; of a check: it found problems, which it has named
  2    an input or an option that cannot be used; `doctor`: something is missing
  3    `batch`: studies failed; the others are done
  130  cancelled (Ctrl-C); 128 and the signal's number where the system ended it"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="qnetseg",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qnetseg {__version__}")
    add_completion(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (segment, batch, demo, doctor, weights, worker_command):
        module.add(commands)
    add_laboratory(commands, "qnetseg.commands")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. What goes wrong is said in one line on stderr."""
    let_waiting_threads_sleep()
    with forgiving_streams():
        try:
            arguments = build_parser().parse_args(argv)
        except SystemExit as left:  # argparse has said why
            return left.code if isinstance(left.code, int) else 0
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        return code
    except Ended as error:
        return _end("Ended by the system; nothing was written.", 128 + error.number, arguments.debug)
    except KeyboardInterrupt:
        return _end("Cancelled; nothing was written.", Cancelled.exit_code, arguments.debug)
    except WorkerFailure as error:
        if arguments.debug and error.details:
            say(error.details)
        return _end(str(error), 1, arguments.debug)
    except QNetSegmentError as error:
        return _end(str(error), error.exit_code, arguments.debug)
    except Exception as error:  # the last resort: a sentence instead of a traceback
        return _end(*_last_resort(error), arguments.debug)


def _last_resort(error: Exception) -> tuple[str, int]:
    """What to say of an error that nobody expected, and the exit code."""
    if isinstance(error, OSError) and error.filename is not None:  # such as a name that is too long
        return f"'{error.filename}' cannot be used: {why(error)}.", QNetSegmentError.exit_code
    if is_out_of_memory(error):
        return "The memory of this machine is too small. Close other programs, or crop the volume.", 1
    return (
        f"Something failed inside the program ({type(error).__name__}: {error}). Report it together with "
        "the output of the same command with --debug.",
        1,
    )


def _end(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    say(" ".join(sentence.split()))
    return code
