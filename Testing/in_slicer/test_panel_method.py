"""The method of choice, the options that it obeys, and what stands beside the structure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import slicer

from qnetseg.segment import SegmentOptions
from support.panel_bed import add_drawing, choose, click, turn_events, wait_until
from support.panel_models import entry_of, two_models, write_catalogue, write_weights
from support.panel_stories import DRAWN, Story, one_slice, segment_names, story

__all__ = ["story"]

ONLY_SLICE_BY_SLICE = ("refinementLabel", "refinementCombo", "fineLabel", "fineSpinBox", "calibrateCheckBox")
REFINEMENTS = {
    "none": "none",
    "as in the paper": "reconstruction",
    "as in the released code": "released",
    "in one step": "closed_form",
}


def visible(story: Story) -> set[str]:
    return {name for name in ONLY_SLICE_BY_SLICE if getattr(story.ui, name).isVisible()}


# Method


def test_only_options_that_the_method_obeys_are_shown(story: Story) -> None:
    ui = story.ui
    story.load_and_draw()
    click(ui.advancedSection)
    assert ui.methodCombo.currentText == "in 3-D" and visible(story) == set()
    assert ui.cleanUpCheckBox.isVisible()
    assert story.session.options() == {"method": "volume", "precision": "auto", "clean_up": True}
    choose(ui.methodCombo, "slice by slice, as in the paper")
    assert visible(story) == set(ONLY_SLICE_BY_SLICE) and ui.cleanUpCheckBox.isVisible()
    assert ui.fineSpinBox.text == "as in the model"
    options = story.session.options()
    assert options["calibrate"] is True and options["alpha"] is None
    story.segment()
    assert story.seen[-1]["options"]["method"] == "q-net"
    choose(ui.methodCombo, "in 3-D")
    assert visible(story) == set()


@pytest.mark.parametrize(("text", "mode"), REFINEMENTS.items())
def test_a_refinement_has_its_usual_numbers(story: Story, text: str, mode: str) -> None:
    from qnetseg.model import Refinement

    ui = story.ui
    click(ui.advancedSection)
    choose(ui.methodCombo, "slice by slice, as in the paper")
    choose(ui.refinementCombo, text)
    ui.fineSpinBox.setValue(40)
    options = SegmentOptions.from_dict(story.session.options())
    assert asdict(options.refinement) == asdict(Refinement.usual(mode)) and options.alpha == 0.4


def test_a_scene_of_an_older_version_keeps_its_method(story: Story) -> None:
    node = story.session.parameters.parameterNode
    for old, method in (("False", "q-net"), ("True", "volume")):
        story.panel.widget.onSceneStartImport(None, None)
        node.SetParameter("method", "volume")
        node.SetParameter("whole", old)
        story.panel.widget.onSceneEndImport(None, None)
        turn_events()
        assert story.session.parameters.method == method and not node.GetParameter("whole")
        assert (story.ui.methodCombo.currentText == "in 3-D") == (method == "volume")


def test_the_default_models_are_one_line_of_the_list(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    ui, resources = story.ui, story.folder / "other"
    folder = two_models(resources)
    kinds = {"tiny": "propagation", "tiny-qnet": "qnet", "third": "qnet"}
    write_weights(folder / "third.safetensors", "qnet")
    write_catalogue(
        resources, [entry_of(folder / f"{name}.safetensors", kind) for name, kind in kinds.items()]
    )
    monkeypatch.setenv("QNETSEG_RESOURCES", str(resources))
    story.panel.frame.exit()
    story.panel.frame.enter()
    click(ui.advancedSection)
    assert [ui.modelCombo.itemText(row) for row in range(ui.modelCombo.count)] == ["default", "third"]
    choose(ui.modelCombo, "third")
    assert story.session.model == "third" and not ui.setupSection.isVisible()


# What stands beside the structure


def atlas_of(story: Story, volume: Any, **masks: np.ndarray) -> Any:
    """A segmentation that was chosen to accept into, after an earlier run; masks by its segments' names."""
    node = add_drawing(volume, masks, "atlas")
    story.session.parameters.output = node
    return node


def half(story: Story) -> np.ndarray:
    """The left half of the organ, as if it were known to be something else."""
    mask = story.masks["liver"].copy()
    mask[:, :, 28:] = False
    return mask


def result(story: Story) -> np.ndarray:
    story.segment()
    return story.found()


def test_structures_drawn_side_by_side_do_not_run_into_each_other(story: Story) -> None:
    _volume, drawing = story.load_and_draw("liver", "spleen")
    story.segment()
    sizes = [int(one_slice(story.masks[name]).sum()) for name in ("liver", "spleen")]
    assert [one["background"] for one in story.seen] == sizes[::-1]
    drawing.GetDisplayNode().SetSegmentVisibility(drawing.GetSegmentation().GetNthSegmentID(1), False)
    story.segment()
    assert [one["background"] for one in story.seen[2:]] == [0, sizes[0]]


def test_what_is_drawn_counts_where_two_drawings_overlap(story: Story) -> None:
    story.load()
    inner = np.zeros_like(story.masks["liver"])
    inner[DRAWN, 16:24, 20:30] = True
    story.masks["tumour"] = inner
    drawing = story.draw("liver", "tumour")
    assert (story.found(drawing) & inner).any()
    story.segment()
    assert story.seen[0]["background"] == 0  # all of the tumour is drawn as liver, too
    assert story.found()[DRAWN].sum() + story.found(number=1)[DRAWN].sum() >= 22 * 24


@pytest.mark.parametrize("shown", [True, False])
def test_visible_segments_of_the_output_are_never_entered(story: Story, shown: bool) -> None:
    volume, _drawing = story.load_and_draw()
    whole = result(story)
    other = half(story)
    other[DRAWN] = False
    atlas = atlas_of(story, volume, bone=other)
    atlas.GetDisplayNode().SetSegmentVisibility(atlas.GetSegmentation().GetNthSegmentID(0), shown)
    found = result(story)
    assert (story.seen[-1]["background"] == other.sum()) == shown
    assert (found & other).any() != shown and (whole & other).any()


def test_an_earlier_result_of_the_same_name_is_no_obstacle(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    atlas_of(story, volume, liver=story.masks["liver"])
    story.segment()
    assert story.seen[-1]["background"] == 0 and story.dice() > 0.8


def test_a_segmentation_of_another_volume_is_no_obstacle(story: Story) -> None:
    other = story.load("other")
    node = atlas_of(story, other, bone=half(story))
    story.load("MR")
    story.draw()
    story.segment()
    assert story.seen[-1]["background"] == 0 and slicer.mrmlScene.IsNodePresent(node)


@pytest.mark.parametrize("status", ["hidden", "completed", "visible"])
def test_an_accepted_result_overwrites_no_segment(story: Story, status: str) -> None:
    volume, _drawing = story.load_and_draw()
    other = half(story)
    atlas = atlas_of(story, volume, bone=other)
    segment_id = atlas.GetSegmentation().GetNthSegmentID(0)
    logic = slicer.modules.segmentations.logic()
    if status == "completed":
        logic.SetSegmentStatus(atlas.GetSegmentation().GetSegment(segment_id), logic.Completed)
    atlas.GetDisplayNode().SetSegmentVisibility(segment_id, status != "hidden")
    story.segment()
    found = story.found()
    click(story.ui.acceptButton)
    assert segment_names(atlas) == ["bone", "liver"]
    assert np.array_equal(story.found(atlas), other)
    assert np.array_equal(story.found(atlas, number=1), found)
    click(story.ui.undoButton)
    assert segment_names(atlas) == ["bone"] and np.array_equal(story.found(atlas), other)


def test_the_update_stays_out_as_well(story: Story) -> None:
    volume, _drawing = story.load_and_draw()
    other = half(story)
    other[DRAWN] = False
    atlas_of(story, volume, bone=other)
    story.segment()
    story.stroke(DRAWN, slice(12, 14), erase=True)
    wait_until(lambda: len(story.seen) == 2 and story.session.run is None)
    assert story.seen[-1]["background"] == other.sum() and not (story.found() & other).any()
