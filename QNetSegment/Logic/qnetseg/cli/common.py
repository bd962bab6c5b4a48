"""What the commands share."""

from __future__ import annotations

import argparse
import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import InputError, heard_oddities

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
QUICK = 2.0  # seconds of work about which nothing needs to be said
LINE_EVERY = 10.0  # seconds from one line to the next, or
LINE_SHARE = 0.25  # of the work


def add_command(
    commands: Any, name: str, summary: str, example: str, details: str = ""
) -> argparse.ArgumentParser:
    """A parser for one command whose help ends with an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n{details}".strip(),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show also where in the program an error arose")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the weights."""
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="a name of `qnetseg weights list`, or a .safetensors file (default: the shipped models)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option that chooses where to compute."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="where to compute; auto takes a working GPU, else the CPU (default: auto)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the arithmetic."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="arithmetic; auto takes bf16 where the hardware has it (default: auto)",
    )


def add_method(parser: argparse.ArgumentParser) -> None:
    """The options that choose how a volume is segmented."""
    parser.add_argument(
        "--method",
        choices=("volume", "q-net"),
        default="volume",
        help="volume finds the structure in 3-D with the propagation network, in another patient with Q-Net,"
        " too; q-net predicts slice by slice with Q-Net alone, as in the paper (default: volume)",
    )
    parser.add_argument(
        "--refinement",
        choices=("none", "reconstruction", "released", "closed_form"),
        help="how Q-Net refines its prototypes, with --method q-net (default: none)",
    )
    parser.add_argument(
        "--alpha", type=float, metavar="A", help="weight of Q-Net's fine path, with --method q-net"
    )
    parser.add_argument(
        "--no-calibration",
        action="store_true",
        help="leave Q-Net's threshold as it was trained, with --method q-net",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option that limits the processor's cores."""
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="threads of the CPU (default: one for each core)"
    )


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_method`, `add_precision` and `add_threads` were given, as options of `segment_volume`.

    Raises InputError for an option that the method does not obey.
    """
    options: dict[str, Any] = {"method": arguments.method, "precision": arguments.precision}
    own: dict[str, Any] = {}
    if arguments.refinement is not None:
        own["refinement"] = {"mode": arguments.refinement}
    if arguments.alpha is not None:
        own["alpha"] = arguments.alpha
    if arguments.no_calibration:
        own["calibrate"] = False
    if own and arguments.method != "q-net":
        raise InputError(
            "--refinement, --alpha and --no-calibration are for Q-Net slice by slice.",
            "Add --method q-net, or leave them out.",
        )
    if arguments.threads:
        options["threads"] = arguments.threads
    return {**options, **own}


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that replaces the text on stdout."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout instead of text")


def say(line: str) -> None:
    """A line for the person at the terminal, kept apart from results."""
    print(f"qnetseg: {escaped(line)}", file=sys.stderr, flush=True)


def print_text(text: str) -> None:
    """Text of a result, for stdout."""
    print(escaped(text), flush=True)


def escaped(text: str) -> str:
    """The text with escapes for control characters, with which a name could steer the terminal."""
    return "".join(
        one.encode("unicode_escape").decode()
        if unicodedata.category(one) == "Cc" and one not in "\n\t"
        else one
        for one in text
    )


@contextmanager
def telling_oddities() -> Iterator[None]:
    """Say in a line each what is odd about the files that are read meanwhile."""
    said: list[str] = []
    try:
        with heard_oddities() as said:
            yield
    finally:
        for sentence in said:
            say(f"warning: {sentence}")


def print_json(content: Any) -> None:
    """The one JSON object of a command with --json."""
    print(json.dumps(content, indent=1), flush=True)


class Bar:
    """How far a piece of work is: a bar on a terminal, a line now and then elsewhere, as in a log file."""

    def __init__(self, name: str, unit: str = "slice", total: int | None = None, scale: bool = False) -> None:
        """name: of the work. unit: what is counted. scale: write large numbers as k, M or G."""
        from tqdm import tqdm

        name = escaped(name)
        self._name, self._lines = name, not sys.stderr.isatty()
        self._began = time.monotonic()
        self._told = (0.0, self._began)  # share and time of the last line
        self._stage = ""
        self._bar = tqdm(
            total=total, desc=name, unit=unit, unit_scale=scale, file=sys.stderr, disable=None, leave=False
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int, stage: str = "") -> None:
        """So much of the total is done; every stage fills the bar anew."""
        if self._lines:
            self._line(done / max(total, 1), stage)
            return
        if self._bar.total != total:
            self._bar.reset(total=total)
        if stage:
            self._bar.set_postfix_str(stage, refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def _line(self, share: float, stage: str) -> None:
        now, (told, when) = time.monotonic(), self._told
        if stage != self._stage or share < told:
            self._stage, told = stage, 0.0
        if now - self._began < QUICK:
            return
        if share > told and (share - told >= LINE_SHARE or now - when >= LINE_EVERY):
            self._told = (share, now)
            say(f"{self._name}: {share:.0%}{f' of the {stage}' if stage else ''}")
        else:
            self._told = (told, when)
