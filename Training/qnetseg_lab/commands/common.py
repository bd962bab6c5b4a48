"""What the laboratory's commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option that says where data sets lie."""
    parser.add_argument(
        "--data",
        type=_data_folder,
        metavar="FOLDER",
        help="folder of the data sets (default: that of the environment variable QNETSEG_DATA)",
    )


def _data_folder(text: str) -> Path:
    """The folder, which is from now on what the environment variable names, also for other processes."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder '{text}'")
    os.environ["QNETSEG_DATA"] = os.path.abspath(text)
    return Path(text)
