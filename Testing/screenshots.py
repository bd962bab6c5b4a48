"""Writes the pictures of the panel for the documentation (`make screenshots`), run on stand-ins.

The panel is ours, the scene Slicer's own (slicer-core), the segmentation the real engine's; the widgets are
imitations over plain Qt, so in Slicer the look differs in details. The volume is the MNI152 mean brain that
the package nilearn brings, every third slice of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "screenshots"
SECTIONS = ("setup", "volumes", "draw", "segment", "review", "library", "batch", "advanced")
STEP = 3  # every third sagittal slice: like a clinical scan, and a third of the time
GAP = 16  # pixels between the panel and the slices on the cover

sys.path[:0] = [str(ROOT / part) for part in ("Testing", "Testing/standins", "QNetSegment/Logic")]
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from slicer_session import session  # noqa: E402

from support.panel_bed import Panel, add_volume, click, grab, paint, turn_events, wait_until  # noqa: E402


def head() -> tuple[Any, Any]:
    """The scan with every third sagittal slice, and the slice of the cerebellum drawn by hand.

    Returns a Volume and a mask (K, J, I) uint8 on its grid.
    """
    from qnetseg.cli import demo, drawing
    from qnetseg.volume import Volume, canonical, read_volume

    whole, _ = canonical(read_volume(demo.find_scan()))
    mask = drawing.drawn_mask()
    first = int(mask.any(axis=(0, 1)).argmax()) % STEP
    matrix = whole.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 0]
    matrix[:3, 0] *= STEP
    return Volume(whole.array[:, :, first::STEP], matrix, "MR head"), mask[:, :, first::STEP].astype("uint8")


def show(panel: Panel, *open_sections: str) -> None:
    """Open these sections and collapse the others."""
    for name in SECTIONS:
        getattr(panel.ui, f"{name}Section").collapsed = name not in open_sections
    turn_events()


def take(panel: Panel, name: str, *open_sections: str) -> None:
    """One picture in light and one in dark colours."""
    if open_sections:
        show(panel, *open_sections)
    for suffix, dark in (("", False), ("-dark", True)):
        width, height = grab(panel.frame, FOLDER / f"{name}{suffix}.png", dark)
        print(f"{name}{suffix}.png {width} x {height}")


def setup_story() -> None:
    """A computer without PyTorch."""
    from QNetSegmentLib.setup import requirements

    real = requirements.installed_version
    requirements.installed_version = lambda name: None if name.startswith("torch") else real(name)
    panel = Panel()
    take(panel, "setup", "setup", "volumes", "segment")
    panel.close()
    requirements.installed_version = real


def main_story() -> None:
    """From an empty scene to a result, its review, the library and a batch."""
    from qnetseg.cli import drawing

    volume, mask = head()
    panel = Panel()
    node = add_volume(volume.array, volume.name, volume.ijk_to_ras)
    panel.ui.querySelector.setCurrentNode(node)
    turn_events()
    click(panel.ui.newDrawingButton)
    state = panel.widget.panel.session
    segmentation = state.parameters.drawing.GetSegmentation()
    segment_id = segmentation.GetNthSegmentID(0)
    segmentation.GetSegment(segment_id).SetName(drawing.STRUCTURE)
    segmentation.GetSegment(segment_id).SetColor(*drawing.COLOR)
    paint(state.parameters.drawing, segment_id, mask, node)
    wait_until(lambda: state.drawn)
    take(panel, "draw", "volumes", "draw", "segment")
    click(panel.ui.segmentButton)
    wait_until(lambda: panel.ui.progressBar.value > 400, 300)
    take(panel, "running", "segment", "review")
    wait_until(lambda: state.run is None, 300)
    assert state.preview is not None, panel.ui.messageLabel.text
    show(panel, "segment", "review")
    if panel.ui.nextUncertainButton.enabled:
        click(panel.ui.nextUncertainButton)
    take(panel, "review")
    cover(panel, state)
    show(panel, "library")
    panel.ui.supportNameEdit.text = "cerebellum, T1"
    click(panel.ui.saveSupportButton)
    wait_until(lambda: panel.ui.libraryMessage.text.startswith("Saved"))
    take(panel, "library", "library")
    batch_story(panel, volume)
    panel.close()


def batch_story(panel: Panel, volume: Any) -> None:
    """A folder with three studies, one of them damaged."""
    from qnetseg.volume import write_volume

    with tempfile.TemporaryDirectory() as folder:
        for name in ("patient 1", "patient 3"):
            write_volume(Path(folder) / f"{name}.nii.gz", volume)
        (Path(folder) / "patient 2.nii.gz").write_bytes(b"not an image")
        show(panel, "segment", "batch")
        panel.widget.panel.session.parameters.batchFolder = folder
        click(panel.ui.batchFolderRadio)
        wait_until(lambda: panel.ui.batchTable.rowCount == 3)
        click(panel.ui.batchButton)
        wait_until(lambda: panel.ui.batchTable.item(1, 1).text() == "failed", 300)
        panel.ui.batchFolderEdit.text = "studies"  # a temporary folder's name says nothing
        take(panel, "batch", "segment", "batch")
        click(panel.ui.batchButton)
        wait_until(lambda: panel.widget.panel.session.batch is None, 60)


def cover(panel: Panel, state: Any) -> None:
    """The panel beside slices of its result: the picture that the Extensions Manager shows."""
    import qt
    from PySide6.QtCore import Qt

    with tempfile.TemporaryDirectory() as folder:
        left, right = Path(folder) / "panel.png", Path(folder) / "slices.png"
        grab(panel.frame, left)
        slices(state, right)
        picture, sheet = qt.QPixmap(str(left)), qt.QPixmap(str(right))
        sheet = sheet.scaledToHeight(picture.height(), Qt.TransformationMode.SmoothTransformation)
        whole = qt.QPixmap(picture.width() + GAP + sheet.width(), picture.height())
        whole.fill(qt.QColor("white"))
        painter = qt.QPainter(whole)
        painter.drawPixmap(0, 0, picture)
        painter.drawPixmap(picture.width() + GAP, 0, sheet)
        painter.end()
        whole.save(str(FOLDER / "QNetSegment.png"))
    print(f"QNetSegment.png {whole.width()} x {whole.height()}")


def slices(state: Any, path: Path) -> None:
    """The result in the scene as a contact sheet."""
    from qnetseg.boxes import Box
    from qnetseg.cli.contact_sheet import contact_sheet
    from qnetseg.segment import Query
    from qnetseg.segment.result import Found
    from qnetseg.volume import Volume
    from QNetSegmentLib.scene.reports import stored_reports
    from QNetSegmentLib.scene.segments import segment_mask
    from QNetSegmentLib.scene.volumes import source_of

    node, preview = state.parameters.queryVolume, state.preview
    source = source_of(node)
    volume = Volume.checked(source.array, source.ijk_to_ras, source.name)
    support = Query.of(volume).pack(state.drawings()[0])
    found = segment_mask(preview, preview.GetSegmentation().GetNthSegmentID(0), node)
    result = Found(Box.around(found), None, stored_reports(preview)[0].report)
    contact_sheet(volume, result, support, path, node.GetName())


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QNETSEG_SUPPORTS"] = folder
        session()
        setup_story()
        main_story()


if __name__ == "__main__":
    main()
