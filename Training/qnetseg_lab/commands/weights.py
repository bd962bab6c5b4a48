"""What the laboratory adds to `qnetseg weights`: convert, average, register."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qnetseg.cli.common import add_command, print_text
from qnetseg.cli.outputs import require_writable
from qnetseg.models import sha256


def add_convert(actions: Any) -> None:
    """Define `convert`."""
    parser = add_command(
        actions,
        "convert",
        "convert an official Q-Net checkpoint, or store a model of ours otherwise",
        "qnetseg weights convert runs/default/model.safetensors small.safetensors --storage int8",
        "\nA .pth checkpoint is read without running code from it, which needs PyTorch 2.10 or later.",
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="official .pth file, or a .safetensors model"
    )
    parser.add_argument("output", type=Path, metavar="OUT", help=".safetensors file to write")
    _add_storage(parser)
    parser.set_defaults(run=run_convert)


def add_average(actions: Any) -> None:
    """Define `average`."""
    parser = add_command(
        actions,
        "average",
        "average the weights of several trainings from one start",
        "qnetseg weights average a.safetensors b.safetensors --output mean.safetensors --storage int8",
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    _add_storage(parser)
    parser.set_defaults(run=run_average)


def add_register(actions: Any) -> None:
    """Define `register`."""
    parser = add_command(
        actions,
        "register",
        "note size and SHA-256 of a shipped file in the manifest",
        "qnetseg weights register QNetSegment/Resources/Models/propagation-open.safetensors",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(run=run_register)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="precision in the file (default: fp32)",
    )


def run_convert(arguments: argparse.Namespace) -> int:
    """Official checkpoint, or a model of ours, to a file of the chosen storage."""
    require_writable(arguments.output, (".safetensors",))
    from qnetseg.model import Network, load_network

    from ..weights.convert import convert_official
    from ..weights.pickles import read_state_dict
    from ..weights.writing import save_model

    network: Network
    if arguments.checkpoint.suffix == ".safetensors":
        model = load_network(arguments.checkpoint)
        network, provenance = model.network, model.provenance
    else:
        network = convert_official(read_state_dict(arguments.checkpoint))
        provenance = {"source": "official Q-Net checkpoint", "licence": "that of the checkpoint"}
    provenance["converted_from_sha256"] = sha256(arguments.checkpoint)
    save_model(arguments.output, network, provenance, storage=arguments.storage)
    print_text(f"{arguments.output}: {_size(arguments.output.stat().st_size)}")
    return 0


def run_average(arguments: argparse.Namespace) -> int:
    """Write the mean of several models; its provenance is the last one's and names all."""
    require_writable(arguments.output, (".safetensors",))
    from qnetseg.model import load_network

    from ..provenance import lineage
    from ..weights.average import average
    from ..weights.writing import save_model

    parts = [load_network(path) for path in arguments.models]
    model = average(parts)
    provenance = {
        **model.provenance,
        "ancestors": [recipe for part in parts for recipe in lineage(part.provenance)],
        "mean_of_sha256": [sha256(path) for path in arguments.models],
    }
    save_model(arguments.output, model.network, provenance, storage=arguments.storage)
    print_text(f"{arguments.output}: {_size(arguments.output.stat().st_size)}")
    return 0


def run_register(arguments: argparse.Namespace) -> int:
    """Bring the manifest up to date with a file."""
    from ..weights.register import register

    entry = register(arguments.file)
    print_text(f"{entry.name}: {_size(entry.size)}, SHA-256 {entry.sha256}")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
