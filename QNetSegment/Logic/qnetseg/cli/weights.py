"""`qnetseg weights`: the models on this machine and in the catalogue."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import models
from ..errors import WeightsError
from .common import Bar, add_command, add_json, print_json, print_text
from .parser import add_laboratory


def add(commands: Any) -> None:
    """Define the command and its actions."""
    parser = add_command(
        commands,
        "weights",
        "list, check, get and remove models",
        "qnetseg weights list",
        "\nDownloads go to your data folder, or to that of the environment variable QNETSEG_MODELS.\n"
        "QNETSEG_RESOURCES names the folder of the shipped Models/ if it is not beside the program.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listed = add_command(actions, "list", "list the models of the catalogue", "qnetseg weights list --json")
    add_json(listed)
    listed.set_defaults(run=run_list)

    verify = add_command(
        actions,
        "verify",
        "compare the models on this machine with their SHA-256",
        "qnetseg weights verify",
        "\nOf a file outside the catalogue the form is checked and the SHA-256 printed.",
    )
    verify.add_argument("file", nargs="?", type=Path, metavar="FILE", help="check only this file")
    add_json(verify)
    verify.set_defaults(run=run_verify)

    download = add_command(
        actions, "download", "download a model of the catalogue", "qnetseg weights download NAME"
    )
    download.add_argument("name", metavar="NAME")
    download.set_defaults(run=run_download)

    remove = add_command(
        actions,
        "remove",
        "delete a downloaded model",
        "qnetseg weights remove NAME",
        "\nShipped files are never deleted.",
    )
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)

    add_laboratory(actions, "qnetseg.weights")


def run_list(arguments: argparse.Namespace) -> int:
    """Print the catalogue with the state of each model."""
    catalogue = models.read_catalogue()
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "state": models.state(entry),
            "default": entry.name in catalogue.defaults.values(),
            "method": entry.method,
            "size": entry.size,
            "licence": entry.licence,
            "seconds": entry.seconds,
            "description": entry.description,
            "path": str(models.find(entry) or ""),
        }
        for entry in catalogue.models
    ]
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        kind = models.TITLES.get(row["method"], row["method"])
        print_text(
            f"{row['name']} ({kind}{', default' if row['default'] else ''}): {row['state']}, "
            f"{row['size'] / 1e6:.1f} MB, {row['licence']}"
            + (f", {row['seconds']:g} s a volume" if row["seconds"] else "")
        )
        print_text(f"  {row['description']}")
    if not rows:
        print_text("The catalogue is empty.")
    print_text(f"Downloads go to {models.data_folder()}.")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Check one file, or every model that is here. Raises WeightsError for the first damaged one."""
    if arguments.file is not None:
        paths = [models.resolve_model(arguments.file)]
    else:
        entries = [(models.find(entry), entry) for entry in models.read_catalogue().models]
        paths = [models.verify(path, entry) for path, entry in entries if path is not None]
        if not paths:
            raise WeightsError("No model of the catalogue is on this machine.", "See: qnetseg weights list.")
    digests = {str(path): models.sha256(path) for path in paths}
    if arguments.json:
        print_json(digests)
        return 0
    for path, digest in digests.items():
        print_text(f"ok  {digest}  {path}")
    return 0


def run_download(arguments: argparse.Namespace) -> int:
    """Download, and tell how far it is."""
    entry = models.read_catalogue().entry(arguments.name)
    with Bar(entry.name, "B", scale=True) as bar:
        path = models.download(entry, bar.show)
    print_text(str(path))
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Delete a downloaded model."""
    print_text(f"removed {models.remove(arguments.name)}")
    return 0
