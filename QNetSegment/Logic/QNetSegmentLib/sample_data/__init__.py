"""Data to try the module with, in Slicer's Sample Data module."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from qnetseg.boxes import Box

from .. import compat
from ..scene.segments import add_box, new_segmentation, remove_node
from ..scene.views import show_volume
from ..scene.volumes import lattice_of
from .phantom import abdomen, largest_slice

CATEGORY = "QNetSegment"
PHANTOM = "QNetSegmentPhantom"
HEAD = "QNetSegmentMRHead"
HEAD_SHA256 = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"
LIVER_COLOR = (221 / 255, 130 / 255, 101 / 255)  # of Slicer's general anatomy
LIVER_TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)


def register() -> None:
    """Offer the phantom, which needs no internet, and the head of Slicer's own test data.

    After a reload of the module the entries take the place of the old ones.
    """
    from SampleData import SampleDataLogic

    compat.register_sample_category(CATEGORY, _("QNetSegment"))
    sources = SampleDataLogic.sampleDataSourcesByCategory()
    sources[CATEGORY] = [one for one in sources.get(CATEGORY, []) if one.sampleName not in (PHANTOM, HEAD)]
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PHANTOM,
        uris=[],  # an address would be asked by `SampleData.downloadSample`, though it is made here
        fileNames=[],
        nodeNames=[],
        customDownloader=_load_phantom,
        thumbnailFileName=_thumbnail("QNetSegmentPhantom.png"),
    )
    SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=HEAD,
        uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{HEAD_SHA256}",
        fileNames="MR-head.nrrd",
        nodeNames="MRHead",
        checksums=f"SHA256:{HEAD_SHA256}",
        thumbnailFileName=_thumbnail("QNetSegmentMRHead.png"),
    )


def phantom_nodes() -> tuple[Any, Any]:
    """A volume node with a synthetic abdomen, and a segmentation node with one slice of its liver drawn.

    Both are new nodes of the scene; if one of them cannot be made, neither is left.
    """
    volume, truth = abdomen()
    box = Box.around(largest_slice(truth["Liver"]))
    with ExitStack() as made:
        node = volume_node(volume.array, volume.ijk_to_ras, volume.name)
        made.callback(remove_node, node)
        drawing = new_segmentation(node, _("Drawing"))
        made.callback(remove_node, drawing)
        add_box(drawing, box, lattice_of(node), _("Liver"), LIVER_COLOR, LIVER_TERMINOLOGY)
        made.pop_all()
    return node, drawing


def volume_node(array: Any, ijk_to_ras: Any, name: str) -> Any:
    """A new scalar volume node; array: (K, J, I), ijk_to_ras: (4, 4) in mm."""
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name)
    )
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


def _load_phantom(source: Any = None) -> list[Any]:
    """What the button in the Sample Data module does."""
    nodes = phantom_nodes()
    show_volume(nodes[0])
    return list(nodes)


def _thumbnail(name: str) -> str | None:
    """A picture for the button, where there is one."""
    path = Path(__file__).resolve().parents[3] / "Resources" / "Icons" / name
    return str(path) if path.is_file() else None
