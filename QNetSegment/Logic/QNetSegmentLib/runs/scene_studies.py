"""Volumes of the scene as studies of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from qnetseg.batch import Study


def scene_studies(nodes: Iterable[Any]) -> list[Study]:
    """The volume nodes as studies."""
    return [
        Study(node.GetName() or _("volume"), node, home=_home(node), origin=_origin(node)) for node in nodes
    ]


def _origin(node: Any) -> str:
    """Its file, or a node that was never saved."""
    file = _node_file(node)
    return f"{node.GetName()} ({node.GetID()})" if file is None else file.name


def _home(node: Any) -> Path | None:
    """The folder of its file; None for a node that lies in no file, or in Slicer's DICOM database."""
    file = _node_file(node)
    return None if file is None or node.GetAttribute("DICOM.instanceUIDs") else file.parent


def _node_file(node: Any) -> Path | None:
    """The file that a volume node was read from or saved to, if it is still there."""
    storage = node.GetStorageNode()
    name = storage.GetFullNameFromFileName() if storage is not None else None
    return Path(name) if name and Path(name).is_file() else None
