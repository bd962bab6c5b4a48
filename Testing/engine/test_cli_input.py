"""Bad input of `qnetseg segment`: one sentence, exit code 2, no output file, nothing computed."""

from __future__ import annotations

import pickle
import tempfile

import numpy as np
import pytest

from support.cli_bed import Bed, drawing_array, entry_of, scan_array, write_image, write_manifest, write_model
from support.dicom_bed import save, slice_of

SENTENCES = {}  # name of a mistake -> (function that makes it and gives the arguments, part of the sentence)


def mistake(sentence):
    def note(function):
        SENTENCES[function.__name__] = (function, sentence)
        return function

    return note


@pytest.fixture
def bed(tmp_path, monkeypatch):
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    monkeypatch.setattr("qnetseg.cli.compute.engine", lambda *_: pytest.fail("something is computed"))
    return bed


def files(bed):
    return sorted(path.relative_to(bed.folder) for path in bed.folder.rglob("*"))


@mistake("does not exist")
def query_missing(bed):
    return {"query": bed.folder / "absent.nii.gz"}


@mistake("'scan.nii.gz' could not be read: it is damaged")
def query_truncated(bed):
    bed.query.write_bytes(bed.query.read_bytes()[:-500])
    return {}


@mistake("'drawing.nii.gz' could not be read: it is damaged")
def mask_truncated(bed):
    bed.mask.write_bytes(bed.mask.read_bytes()[:-20])
    return {}


@mistake("not a volume in a format")
def query_not_an_image(bed):
    path = bed.folder / "letter.docx"
    path.write_text("Dear reader")
    return {"query": path}


@mistake("is damaged")
def query_only_named_an_image(bed):
    bed.query.write_text("Dear reader")
    return {}


@mistake("does not exist")
def mask_missing(bed):
    return {"mask": bed.folder / "absent.nrrd"}


@mistake("4-D image")
def query_4d(bed):
    return {"query": write_image(bed.folder / "series.nii.gz", np.stack([scan_array()] * 3))}


@mistake("values per voxel")
def query_vector(bed):
    return {
        "query": write_image(bed.folder / "colour.nrrd", np.stack([scan_array()] * 3, axis=-1), vector=True)
    }


@mistake("not finite numbers")
def query_nan(bed):
    array = scan_array()
    array[0, 0, 0] = np.nan
    return {"query": write_image(bed.folder / "nan.nrrd", array)}


@mistake("constant")
def query_constant(bed):
    return {"query": write_image(bed.folder / "flat.nrrd", np.full_like(scan_array(), 7))}


@mistake("is empty")
def mask_empty(bed):
    return {"mask": write_image(bed.folder / "empty.nrrd", np.zeros_like(drawing_array()))}


@mistake("not whole numbers")
def mask_of_fractions(bed):
    return {"mask": write_image(bed.folder / "fractions.nrrd", scan_array())}


@mistake("has 6x24x16 voxels")
def mask_of_another_shape(bed):
    return {"mask": write_image(bed.folder / "narrow.nrrd", drawing_array()[:, :, :16])}


@mistake("does not belong to the volume")
def mask_of_another_position(bed):
    return {"mask": write_image(bed.folder / "moved.nrrd", drawing_array(), origin=3.0)}


@mistake("has 9x24x20 voxels")
def mask_slice_outside_the_field(bed):
    array = np.zeros((9, 24, 20), np.uint8)
    array[8, 8:16, 6:14] = 1
    return {"mask": write_image(bed.folder / "tall.nrrd", array)}


@mistake("There is no segment '7'")
def label_not_present(bed):
    return {"more": ("--label", "7")}


@mistake("There is no segment 'liver'")
def name_not_present(bed):
    return {"more": ("--label", "liver")}


@mistake("different values: it looks like an image")
def image_as_mask(bed):
    array = (scan_array() * 100).astype(np.int16)
    return {"mask": write_image(bed.folder / "grey.nrrd", array)}


@mistake("is a DICOM file. Save it in Slicer as a .seg.nrrd")
def dicom_as_mask(bed):
    path = bed.folder / "mask.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 99)
    return {"mask": path}


@mistake("There is no series 'T3'")
def series_not_present(bed):
    save(slice_of(0), bed.folder / "study" / "1.dcm")
    return {"query": bed.folder / "study", "more": ("--series", "T3")}


@mistake("does not belong to the volume")
def support_of_another_position(bed):
    return {"more": ("--support", write_image(bed.folder / "other.nrrd", scan_array(), origin=3.0))}


@mistake("does not exist. Create it")
def output_folder_missing(bed):
    return {"output": bed.results / "absent" / "out.nrrd"}


@mistake("is a folder")
def output_is_a_folder(bed):
    (bed.results / "x.nrrd").mkdir()
    return {"output": bed.results / "x.nrrd"}


@mistake("is write-protected")
def output_is_protected(bed):
    path = bed.results / "precious.nrrd"
    path.write_text("of somebody")
    path.chmod(0o444)
    return {"output": path}


@mistake("ending that cannot be written")
def output_of_unknown_format(bed):
    return {"output": bed.results / "out.jpg"}


@mistake("ending that cannot be written")
def confidence_as_a_segmentation(bed):
    return {"more": ("--confidence", bed.results / "c.seg.nrrd")}


@mistake("written twice or is an input")
def output_over_the_scan(bed):
    return {"output": bed.query}


@mistake("written twice or is an input")
def two_outputs_of_one_name(bed):
    return {"output": bed.results / "a.nrrd", "more": ("--confidence", bed.results / "a.nrrd")}


@mistake("not a safetensors file")
def pickle_named_safetensors(bed):
    path = bed.folder / "model.safetensors"
    path.write_bytes(pickle.dumps({"weights": list(range(100))}))
    return {"more": ("--model", path)}


@mistake("is damaged or was replaced")
def weights_with_a_flipped_byte(bed):
    content = bytearray(bed.model.read_bytes())
    content[-9] ^= 4
    bed.model.write_bytes(content)
    return {}


@mistake("--refinement, --alpha and --no-calibration are for Q-Net slice by slice. Add --method q-net")
def an_option_of_the_other_method(bed):
    return {"more": ("--alpha", "0.5")}


@mistake("--refinement, --alpha and --no-calibration are for Q-Net slice by slice. Add --method q-net")
def a_refinement_of_the_other_method(bed):
    return {"more": ("--refinement", "none")}


@mistake("--refinement, --alpha and --no-calibration are for Q-Net slice by slice. Add --method q-net")
def no_calibration_in_the_other_method(bed):
    return {"more": ("--no-calibration",)}


@mistake("The model 'tiny-qnet' is a Q-Net, and none is asked for here. Choose a propagation network.")
def q_net_where_it_is_not_asked(bed):
    return {"more": ("--model", "tiny-qnet")}


@mistake("The model 'tiny' is a propagation network, and none is asked for here. Choose a Q-Net.")
def propagation_network_for_q_net(bed):
    return {"more": ("--model", "tiny", "--method", "q-net")}


@mistake("holds weights of the method 'panet', which segments no volumes")
def weights_of_a_baseline(bed):
    return {"more": ("--model", write_model(bed.folder / "panet.safetensors", method="panet"))}


@mistake("There is no model 'best'")
def model_unknown(bed):
    return {"more": ("--model", "best")}


@mistake("is not on this machine")
def model_not_here(bed):
    entry = entry_of(bed.model)
    bed.model.unlink()
    write_manifest(bed.resources, [entry])
    return {}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(bed, capsys, name):
    make, sentence = SENTENCES[name]
    arguments = make(bed)
    before = files(bed)
    more = arguments.pop("more", ())
    assert bed.segment(*more, **arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("qnetseg: ") and told.err.count("\n") == 1 and sentence in told.err
    assert files(bed) == before


def test_a_folder_that_cannot_be_written_to(bed, capsys, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # the tests may run as root, whom nothing refuses
    assert bed.segment() == 2
    assert "Nothing can be written to the folder" in capsys.readouterr().err


def test_a_drawing_for_another_image_leads_to_the_option(bed, capsys):
    other = write_image(bed.folder / "moved.nrrd", drawing_array(), origin=3.0)
    assert bed.segment(mask=other) == 2
    assert "name that with --support" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["segment"], ["nonsense"], [], ["segment", "a", "--mask", "b", "--output", "c", "--device", "abacus"]],
)
def test_wrong_usage_is_code_2(arguments, capsys):
    from qnetseg.cli import main

    assert main(arguments) == 2
    assert "error:" in capsys.readouterr().err
