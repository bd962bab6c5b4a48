"""`qnetseg weights`: the models on this machine and in the catalogue."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import models
from ..errors import WeightsError
from .common import Bar, add_command, add_json, print_json, print_text
from .outputs import require_writable


def add(commands: Any) -> None:
    """Define the command and its actions."""
    parser = add_command(
        commands,
        "weights",
        "list, check, get, convert and remove models",
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

    convert = add_command(
        actions,
        "convert",
        "convert an official Q-Net checkpoint, or store a model of ours otherwise",
        "qnetseg weights convert runs/default/model.safetensors small.safetensors --storage int8",
        "\nA .pth checkpoint is read without running code from it, which needs PyTorch 2.10 or later.",
    )
    convert.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="official .pth file, or a .safetensors model"
    )
    convert.add_argument("output", type=Path, metavar="OUT", help=".safetensors file to write")
    _add_storage(convert)
    convert.set_defaults(run=run_convert)

    mean = add_command(
        actions,
        "average",
        "average the weights of several trainings from one start",
        "qnetseg weights average a.safetensors b.safetensors --output mean.safetensors --storage int8",
    )
    mean.add_argument("models", type=Path, nargs="+", metavar="FILE")
    mean.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    _add_storage(mean)
    mean.set_defaults(run=run_average)

    remove = add_command(
        actions,
        "remove",
        "delete a downloaded model",
        "qnetseg weights remove NAME",
        "\nShipped files are never deleted.",
    )
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)

    register = add_command(
        actions,
        "register",
        "note size and SHA-256 of a shipped file in the manifest (for maintainers)",
        "qnetseg weights register QNetSegment/Resources/Models/propagation-open.safetensors",
    )
    register.add_argument("file", type=Path, metavar="FILE")
    register.set_defaults(run=run_register)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="precision in the file (default: fp32)",
    )


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
            f"{_size(row['size'])}, {row['licence']}"
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


def run_convert(arguments: argparse.Namespace) -> int:
    """Official checkpoint, or a model of ours, to a file of the chosen storage."""
    require_writable(arguments.output, (".safetensors",))
    from ..model import Network, load_network, save_model
    from ..model.convert import convert_official
    from ..model.storage import read_state_dict

    network: Network
    if arguments.checkpoint.suffix == ".safetensors":
        model = load_network(arguments.checkpoint)
        network, provenance = model.network, model.provenance
    else:
        network = convert_official(read_state_dict(arguments.checkpoint))
        provenance = {"source": "official Q-Net checkpoint", "licence": "that of the checkpoint"}
    provenance["converted_from_sha256"] = models.sha256(arguments.checkpoint)
    save_model(arguments.output, network, provenance, storage=arguments.storage)
    print_text(f"{arguments.output}: {_size(arguments.output.stat().st_size)}")
    return 0


def run_average(arguments: argparse.Namespace) -> int:
    """Write the mean of several models; its provenance is the last one's and names all."""
    require_writable(arguments.output, (".safetensors",))
    from ..model import load_network, save_model
    from ..model.average import average
    from ..model.storage import lineage

    parts = [load_network(path) for path in arguments.models]
    model = average(parts)
    provenance = {
        **model.provenance,
        "ancestors": [recipe for part in parts for recipe in lineage(part.provenance)],
        "mean_of_sha256": [models.sha256(path) for path in arguments.models],
    }
    save_model(arguments.output, model.network, provenance, storage=arguments.storage)
    print_text(f"{arguments.output}: {_size(arguments.output.stat().st_size)}")
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Delete a downloaded model."""
    print_text(f"removed {models.remove(arguments.name)}")
    return 0


def run_register(arguments: argparse.Namespace) -> int:
    """Bring the manifest up to date with a file."""
    entry = models.register(arguments.file)
    print_text(f"{entry.name}: {_size(entry.size)}, SHA-256 {entry.sha256}")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
