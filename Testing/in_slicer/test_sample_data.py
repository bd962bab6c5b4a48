"""The phantom and what the Sample Data module offers, in a real scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from slicer_session import session

BED = session()

from QNetSegmentLib import sample_data  # noqa: E402
from QNetSegmentLib.sample_data.phantom import SHAPE, abdomen, largest_slice  # noqa: E402
from QNetSegmentLib.scene.segments import segment_mask, terminology_of  # noqa: E402


@pytest.fixture(autouse=True)
def scene():
    BED.reset()
    slicer.modules.sampleDataSources = {}
    yield slicer.mrmlScene
    BED.reset()


def test_the_phantom_is_always_the_same_and_has_its_truth():
    volume, truth = abdomen()
    again, _ = abdomen()
    assert np.array_equal(volume.array, again.array)
    assert volume.shape == SHAPE and volume.array.dtype == np.float32 and volume.array.min() >= 0
    assert sorted(truth) == ["Left kidney", "Liver", "Right kidney", "Spleen"]
    assert sum(mask.astype(int) for mask in truth.values()).max() == 1, "no voxel is in two organs"
    millilitres = np.prod(volume.spacing) / 1000
    volumes = {name: float(mask.sum()) * millilitres for name, mask in truth.items()}
    assert 1200 < volumes["Liver"] < 1800 and 100 < volumes["Left kidney"] < 250


def test_the_image_is_in_the_middle_of_the_world_and_the_liver_on_the_right():
    volume, truth = abdomen()
    k, j, i = (float(axis.mean()) for axis in np.nonzero(truth["Liver"]))
    assert (volume.ijk_to_ras @ [i, j, k, 1])[0] > 20, "to the patient's right"
    middle = [(count - 1) / 2 for count in reversed(SHAPE)]
    assert np.allclose(volume.ijk_to_ras @ [*middle, 1], [0, 0, 0, 1])


def test_the_nodes_are_a_volume_and_one_drawn_slice(scene):
    volume, drawing = sample_data.phantom_nodes()
    expected, truth = abdomen()
    assert np.array_equal(slicer.util.arrayFromVolume(volume), expected.array)
    assert volume.GetDisplayNode() and volume.GetName() == "QNetSegment phantom"
    segmentation = drawing.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    segment_id, segment = segmentation.GetNthSegmentID(0), segmentation.GetNthSegment(0)
    drawn = segment_mask(drawing, segment_id, volume)
    assert np.array_equal(drawn, largest_slice(truth["Liver"]) > 0)
    assert (drawn.any(axis=(1, 2))).sum() == 1
    assert segment.GetName() == "Liver" and "10200004" in terminology_of(segment)


def test_nothing_is_left_of_nodes_that_fail(scene, monkeypatch):
    def fail(*_args, **_named):
        raise MemoryError

    before = scene.GetNumberOfNodes()
    monkeypatch.setattr(sample_data, "add_box", fail)
    with pytest.raises(MemoryError):
        sample_data.phantom_nodes()
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLDisplayNode") <= before


def sources():
    return slicer.modules.sampleDataSources["QNetSegment"]


def test_the_samples_are_registered_once_also_after_a_reload():
    sample_data.register()
    sample_data.register()
    assert [source.sampleName for source in sources()] == ["QNetSegmentPhantom", "QNetSegmentMRHead"]


def test_other_samples_of_the_category_stay():
    slicer.modules.sampleDataSources["QNetSegment"] = [type("Other", (), {"sampleName": "theirs"})()]
    sample_data.register()
    assert next(source.sampleName for source in sources()) == "theirs"


def test_the_phantom_needs_no_internet(scene):
    sample_data.register()
    (phantom,) = (source for source in sources() if source.sampleName == "QNetSegmentPhantom")
    volume, drawing = phantom.customDownloader(phantom)
    assert scene.IsNodePresent(volume) and scene.IsNodePresent(drawing)


def test_a_script_that_downloads_the_phantom_asks_no_server():
    import SampleData

    sample_data.register()
    assert SampleData.downloadSamples("QNetSegmentPhantom") == []
    assert len(SampleData.press("QNetSegmentPhantom")) == 2


def test_the_download_has_a_checksum():
    sample_data.register()
    (head,) = (source for source in sources() if source.sampleName == "QNetSegmentMRHead")
    algorithm, digest = head.checksums[0].split(":")
    assert algorithm == "SHA256" and len(digest) == 64 and head.uris[0].endswith(f"SHA256/{digest}")


def test_the_pictures_on_the_buttons_exist():
    sample_data.register()
    from pathlib import Path

    pictures = [source.thumbnailFileName for source in sources() if source.thumbnailFileName]
    assert pictures and all(Path(picture).is_file() for picture in pictures)
