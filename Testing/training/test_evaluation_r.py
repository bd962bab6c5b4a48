"""R1, R2 and R3 from folder to table, with a network that segments phantoms; what is kept and skipped."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from qnetseg import cli
from qnetseg.errors import Cancelled, DatasetError, InputError, WorkerError
from qnetseg.volume import LabelMap, write_labelmap, write_volume
from qnetseg_lab.evaluation.body_phantom import body_phantom
from qnetseg_lab.evaluation.results import RowLog
from qnetseg_lab.evaluation.summary import summarise
from qnetseg_lab.evaluation.whole_volume import r1, r2, r3
from qnetseg_lab.evaluation.whole_volume import worst_cases as gallery
from qnetseg_lab.evaluation.whole_volume.aggregate import paired
from qnetseg_lab.evaluation.whole_volume.methods import Answer
from qnetseg_lab.evaluation.whole_volume.parallel import work_through
from qnetseg_lab.evaluation.whole_volume.scoring import score
from qnetseg_lab.evaluation.whole_volume.tables import summary_lines
from qnetseg_lab.report import write_report
from qnetseg_lab.report.whole_volume import whole_volumes
from support import parallel_works
from support.evaluation_bed import (
    phantom_patients,  # noqa: F401
    settings,
    simple_models,  # noqa: F401
)


def test_r1_scores_every_drawing_and_names_the_bad_study(phantoms, model, tmp_path):
    output, lines = tmp_path / "results" / "r1.json", []
    patients = ("p1", "p2", "p4")
    run = r1.R1(**settings(phantoms, model, "qnet", "copy", "ellipsoid", cases=patients), seeds=1)
    content = r1.run(run, output, report=lines.append)
    assert json.loads(output.read_text()) == json.loads(json.dumps(content))
    assert not output.with_suffix(".part.jsonl").exists()
    assert content["protocol"] == "R1" and content["dataset"] == phantoms.name and content["studies"] == 2
    assert {"weights_sha256", "revision", "seed", "machine"} <= set(content)
    assert content["left_out"] == 1 and content["skipped"][0].startswith("p4: ")
    assert any(line.startswith("left out   p4: ") for line in lines)
    assert len(content["rows"]) == 2 * 2 * 3  # studies, drawings, methods
    best = content["summary"]["largest"]["qnet"]["structures"]["mean"]
    assert best["dice"] > 75 and best["patients"] == 2 and best["interval"][0] <= best["dice"]
    floor = content["summary"]["largest"]["copy"]["structures"]["mean"]["dice"]
    gap = content["paired"]["largest"]["copy"]
    assert gap["difference"] == pytest.approx(best["dice"] - floor) and gap["patients"] == 2
    text = write_report(output.parent)[1].read_text(encoding="utf-8")
    assert f"{best['dice']:.1f}" in text and "[json](r1.json)" in text and "random, middle half" in text
    assert content["summary"]["largest"]["qnet"]["kinds"].keys() == {row["kind"] for row in content["rows"]}
    assert "By kind of structure, drawn slice: largest area" in text
    assert "left out: 1" in text and "## R1" in text and "## R2" not in text


def test_baselines_that_were_scored_before_stand_beside_a_run(phantoms, model, tmp_path, capsys):
    file, quiet = tmp_path / "baselines.json", {"report": lambda line: None}
    r1.run(r1.R1(**settings(phantoms, None, "copy"), choices=("largest",)), file, **quiet)
    ours = r1.R1(**settings(phantoms, model, "qnet", cases=()), choices=("largest",))
    content = r1.run(ours, beside=file, **quiet)
    both = r1.run(r1.R1(**settings(phantoms, model, "qnet", "copy"), choices=("largest",)), **quiet)
    assert content["paired"] == both["paired"] and set(content["summary"]["largest"]) == {"qnet", "copy"}
    assert (
        f"the other methods by revision {content['revision']} (baselines.json)" in summary_lines(content)[-1]
    )
    command = ["evaluate", "r1", "--dataset", str(phantoms), "--model", model, "--choice", "largest"]
    assert cli.main([*command, "--beside", str(file)]) == 0 and "copy" in capsys.readouterr().out
    spoilt = tmp_path / "spoilt.json"
    for change, sentence in (
        ({"plane": "sagittal"}, "another plane"),
        ({"rows": [{"method": "qnet", "choice": "largest"}]}, "adds no method"),
        ({"rows": 3}, "is not a result file of R1"),
    ):
        spoilt.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(InputError, match=sentence):
            r1.run(ours, beside=spoilt, **quiet)
    with pytest.raises(InputError, match="cannot be read"):
        r1.run(ours, beside=tmp_path / "gone.json", **quiet)


def test_the_drawn_slice_is_not_scored(phantoms, model):
    run = r1.R1(**settings(phantoms, None, "copy", cases=("p1",)), choices=("largest",))
    (row,) = r1.run(run, report=lambda line: None)["rows"]
    study = run.collection().load("p1")
    truth = study.mask(1)
    rest = np.delete(np.arange(len(truth)), row["slice"])
    copied = np.broadcast_to(truth[row["slice"]], truth[rest].shape)
    assert row["dice"] == pytest.approx(2 * (copied & truth[rest]).sum() / (copied.sum() + truth[rest].sum()))
    assert row["end_error_slices"] == [3, 3] and row["false_ml"] > 0


def test_a_structure_on_one_slice_is_left_out_with_a_sentence(phantoms, model, tmp_path):
    volume, organ = body_phantom((14, 64, 64), (8.0, 4.0, 4.0))
    organ[7] *= 1 + (np.arange(64) > 44).astype(np.uint8)  # label 2 lies on one slice only
    write_volume(tmp_path / "a.nii.gz", volume)
    write_labelmap(tmp_path / "a_seg.nii.gz", LabelMap(organ, volume.ijk_to_ras, ()))
    for protocol, run in ((r1, r1.R1), (r2, r2.R2)):
        content = protocol.run(run(**settings_of(tmp_path, run)), report=lambda line: None)
        assert len(content["skipped"]) == 1 and "label 2: It is on one slice" in content["skipped"][0]
    with pytest.raises(DatasetError, match="Nothing of"):
        r1.run(r1.R1(**settings(tmp_path, None, "copy", labels={"dot": 2})), report=lambda line: None)


def settings_of(folder, run):
    """Image-free settings of a protocol."""
    return settings(folder, None, "copy") | ({"picks": ("worst",)} if run is r2.R2 else {})


def test_r2_draws_where_the_first_method_is_worst_and_scores_the_others_there(phantoms, model, tmp_path):
    run = r2.R2(**settings(phantoms, model, "qnet", "interpolation", cases=("p1",)), rounds=2)
    content = r2.run(run, tmp_path / "r2.json", report=lambda line: None)
    rows = content["rows"]
    for row in rows:
        twin = [r for r in rows if {**r, "method": ""}.items() >= _place(row).items()]
        assert {tuple(r["drawn"]) for r in twin} == {tuple(row["drawn"])}
    curve = content["curves"]["worst"]["qnet"]["dice_with_drawn"]
    assert len(curve) == 2 and curve[1]["mean"]["dice"] >= curve[0]["mean"]["dice"]
    headline = content["headlines"]["flag"]["qnet"]
    assert headline["flags"] > 0 and 0 <= headline["flag_hit"] <= 100
    assert content["headlines"]["flag"]["interpolation"]["flag_hit"] is None
    assert len(content["paired"]["worst"]["interpolation"]) == 2
    text = whole_volumes([content | {"file": "r.json"}], tmp_path)
    assert "2 drawn" in text and "the flagged slice next" in text


def _place(row):
    return {key: row[key] for key in ("query", "structure", "pick", "round")}


def test_the_next_slice_and_the_flag_by_hand():
    truth = np.zeros((6, 4, 4), bool)
    truth[1:5] = True
    found = truth.copy()
    found[1] = False
    found[3, :2] = False
    found[2, 0, 0] = False
    labelled = np.ones(6, bool)
    sure = dict.fromkeys(range(6), 0.9) | {3: 0.1}
    assert r2._next_slice(Answer(found, sure), truth, labelled, [4], "worst") == (
        1,
        {"flag": 3, "flag_hit": True},
    )
    assert r2._next_slice(Answer(found, sure), truth, labelled, [4], "flag")[0] == 3
    wrong = dict.fromkeys(range(6), 0.9) | {5: 0.1}
    assert r2._next_slice(Answer(found, wrong), truth, labelled, [4], "flag")[1]["flag_hit"] is False
    assert r2._next_slice(Answer(truth, sure), truth, labelled, [4], "flag")[1]["flag_hit"] is None
    assert r2._next_slice(Answer(truth), truth, labelled, [4], "worst") == (0, {})
    assert r2._next_slice(Answer(truth), truth, labelled, list(range(6)), "worst") == (None, {})
    with pytest.raises(InputError, match="give its confidence"):
        r2._next_slice(Answer(truth), truth, labelled, [4], "flag")


def test_headlines_count_drawn_slices_until_the_goal():
    def case(study, *values):
        return [
            {"query": study, "structure": "x", "round": n, "dice": value, "dice_with_drawn": 1.0}
            for n, value in enumerate(values, 1)
        ]

    own = r2._carried_on([*case("a", 0.5, 0.95), *case("b", 0.5, 0.6, 0.7, 0.8), *case("c", 0.9)], 4)
    headlines = r2._headlines(own)
    assert headlines["slices_for_goal"] == 2 and headlines["reached"] == pytest.approx(200 / 3)
    assert headlines["slices_for_goal_with_drawn"] == 1 and headlines["flag_hit"] is None
    assert r2._headlines(r2._carried_on(case("a", 0.1), 2))["slices_for_goal"] is None


def test_r3_scores_pairs_of_patients(phantoms, model, tmp_path):
    run = r3.R3(**settings(phantoms, model, "qnet", "ellipsoid", cases=("p1", "p2", "p3")), pairs=4)
    content = r3.run(run, tmp_path / "r3.json", report=lambda line: None)
    asked = {(row["support"], row["query"]) for row in content["rows"]}
    assert len(asked) == 4 and all(support != query for support, query in asked)
    figures = content["summary"]["qnet"]
    assert figures["structures"]["mean"]["dice"] > 50 and figures["spread_over_supports"] is not None
    assert (figures["dice_doubted"] is None) == (figures["doubted"] == 0)
    assert figures["worst_tenth"] <= figures["worst_decile"] + 1e-9 <= figures["median"] + 1e-9
    assert content["summary"]["ellipsoid"]["structures"]["mean"]["dice"] > 70  # the phantoms lie alike
    assert "worst tenth" in whole_volumes([content | {"file": "r.json"}], tmp_path)


def test_r3_counts_what_is_found_where_nothing_is(phantoms, model):
    patients = ("p1", "p2", "p3")
    run = r3.R3(**settings(phantoms, model, "qnet", "copy", cases=patients), pairs=2, absent=True)
    content = r3.run(run, report=lambda line: None)
    rows = [row for row in content["rows"] if row["method"] == "copy"]
    assert all(row["slices"] == 3 and row["false_ml"] > 0 for row in rows)
    assert content["summary"]["copy"]["left_empty"] == content["summary"]["copy"]["doubted"] == 0
    ours = content["summary"]["qnet"]
    assert ours["left_empty"] <= ours["doubted"] <= 100
    assert "Structure absent" in "\n".join(summary_lines(content))


def test_r3_across_data_sets_matches_structures_by_name(phantoms, model):
    across = {"support_dataset": str(phantoms), "pairs": 2}
    values = settings(phantoms, None, "copy", labels={"organ": 1}, cases=("p1",))
    content = r3.run(r3.R3(**values, **across, support_labels={"organ": 1}), report=lambda line: None)
    assert content["rows"] and content["support_dataset"] == phantoms.name
    with pytest.raises(DatasetError, match="no structure of the same name"):
        r3.run(r3.R3(**values, **across))
    with pytest.raises(DatasetError, match="no two patients"):
        r3.run(r3.R3(**values))


def test_a_query_without_labels_everywhere_cannot_be_cropped(phantoms, model):
    values = settings(phantoms, None, "copy", cases=("p1", "p2"))
    with pytest.raises(DatasetError, match="nobody knows where it ends"):
        r3.run(r3.R3(**values, absent=True, partly_labelled=True), report=lambda line: None)
    study = r1.R1(**values).collection().load("p1")
    with pytest.raises(DatasetError, match="nearly every slice"):
        r3.without(study, np.ones_like(study.mask(1)))
    assert r3.without(study, np.zeros_like(study.mask(1))) is study


def test_impossible_settings_are_refused(phantoms, model):
    for make in (
        lambda: r1.R1(**settings(phantoms, model, "qnet"), choices=("best",)),
        lambda: r1.R1(**settings(phantoms, model, "qnet"), seeds=0),
        lambda: r2.R2(**settings(phantoms, model, "qnet"), picks=("luck",)),
        lambda: r2.R2(**settings(phantoms, model, "qnet"), rounds=0),
        lambda: r3.R3(**settings(phantoms, model, "qnet"), pairs=0),
        lambda: r1.R1(**settings(phantoms, model, "qnet"), fold=0),
    ):
        with pytest.raises((InputError, DatasetError)):
            make()


def units(*names):
    return [{"query": name} for name in names]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    output, asked = tmp_path / "run.json", []

    def work(unit):
        asked.append(unit["query"])
        if unit["query"] == "b" and asked.count("b") == 1:
            raise KeyboardInterrupt
        return {"value": unit["query"]}

    with pytest.raises(Cancelled, match=r"kept in .*run\.part\.jsonl"):
        work_through(units(*"abc"), work, RowLog(output, {"run": 1}))
    with open(output.with_suffix(".part.jsonl"), "a", encoding="utf-8") as file:
        file.write('{"key": ["x')  # the machine went down while a line was written
    lines = []
    done = work_through(units(*"abc"), work, RowLog(output, {"run": 1}), report=lines.append)
    assert [result["value"] for result in done] == ["a", "b", "c"] and asked == ["a", "b", "b", "c"]
    assert lines == ["1 of 3 are there from before", "b done, 2 of 3", "c done, 3 of 3"]
    assert RowLog(output, {"run": 1}).get({"query": "c"}) == {"value": "c"}
    with pytest.raises(Cancelled, match="nothing was kept"):
        asked.clear()
        work_through(units("b"), work, RowLog(None, {}))


def test_the_work_is_done_in_processes_and_their_end_is_said():
    log = RowLog(None, {})
    assert work_through(units("a", "b"), parallel_works.upper, log, jobs=2) == [
        {"value": "A"},
        {"value": "B"},
    ]
    with pytest.raises(WorkerError, match="was killed"):
        work_through(units("c", "d"), parallel_works.end_process, log, jobs=2)
    with pytest.raises(InputError, match="at least 1"):
        work_through(units("c"), parallel_works.upper, log, jobs=0)


def test_processes_find_the_number_of_threads_before_torch():
    found = work_through(units("a", "b"), parallel_works.threads, RowLog(None, {}), jobs=2)
    count = str(max(1, (os.cpu_count() or 1) // 2))
    assert found == [{"threads": count, "torch": False}] * 2


def test_patients_count_once_and_pairs_are_compared():
    rows = [
        {"query": "a", "structure": "x", "dice": 0.5},
        {"query": "a", "structure": "x", "dice": 0.7},
        {"query": "b", "structure": "x", "dice": 0.8},
        {"query": "b", "structure": "y", "dice": 0.4},
    ]
    summary = summarise(rows, ["x", "y", "z"])
    assert summary["x"]["dice"] == pytest.approx(70) and summary["y"]["patients"] == 1 and "z" not in summary
    assert summary["mean"]["dice"] == pytest.approx(55) and summary["mean"]["hd95"] is None
    worse = [{**row, "dice": row["dice"] - 0.1} for row in rows]
    gap = paired(rows, worse, ["x", "y"])
    assert gap["difference"] == pytest.approx(10) and gap["interval"] == pytest.approx([10, 10])
    assert gap["patients"] == 2 and not gap["shown"]  # two patients prove nothing
    assert paired(rows, [], ["x"]) == {}
    other = [{"query": "b", "structure": "y", "dice": 0.1}, {"query": "c", "structure": "x", "dice": 0.1}]
    assert paired(rows[:2], other, ["x", "y"]) == {} and paired(rows[2:3], other[:1], ["x", "y"]) == {}
    assert paired(rows, other, ["x", "y"])["difference"] == pytest.approx(30)


def test_the_commands_print_a_table_and_write_a_result(phantoms, tmp_path, capsys):
    base = ["--dataset", str(phantoms), "--method", "copy,interpolation", "--output", str(tmp_path / "out")]
    assert cli.main(["evaluate", "r1", *base, "--choice", "largest", "--labels", "organ=1"]) == 0
    printed = capsys.readouterr()
    assert "organ" in printed.out and "shape interpolation" in printed.out
    assert "left out   p4" in printed.err
    assert cli.main(["evaluate", "r2", *base, "--pick", "worst", "--rounds", "2"]) == 0
    assert "the worst slice next" in capsys.readouterr().out
    r3_base = [*base[:3], "copy", *base[4:], "--cases", "p1,p2", "--pairs", "2", "--json"]
    assert cli.main(["evaluate", "r3", *r3_base, "--absent", "--support-dataset", str(phantoms)]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "R3"
    names = sorted(path.name.replace(phantoms.name, "D") for path in (tmp_path / "out").iterdir())
    assert names == [
        "r1-D-largest-copy-interpolation.json",
        "r2-D-worst-copy-interpolation.json",
        "r3-D-p1-p2-from-D-pairs2-seed0-absent-copy.json",
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--labels", "liver"], "not of the form name=value"),
        (["--labels", "a=1,b=1"], "occurs twice"),
        (["--method", ","], "names no one"),
        (["--method", "magic"], "There is no method 'magic'"),
        (["--method", "copy", "--cases", "p9"], "There is no study 'p9'"),
    ],
)
def test_options_that_cannot_be_used_are_said(phantoms, capsys, options, sentence):
    assert cli.main(["evaluate", "r1", "--dataset", str(phantoms), *options]) == 2
    assert sentence in capsys.readouterr().err


def row_of(query, dice, method="qnet", **more):
    return {"query": query, "structure": "organ", "method": method, "dice": dice, **more}


def test_the_worst_results_are_those_of_the_first_method_each_drawing_once():
    rows = [row_of("a", 0.9), row_of("b", 0.5, seed=0), row_of("b", 0.2, seed=1), row_of("c", 0.1, "copy")]
    assert [row["dice"] for row in gallery.worst(rows, "qnet", count=5)] == [0.2, 0.9]
    absent = [{**row_of("a", 0), "false_ml": ml, "support": str(ml)} for ml in (1.0, 30.0, 0.0)]
    for row in absent:
        del row["dice"]
    assert [row["false_ml"] for row in gallery.worst(absent, "qnet", count=2)] == [30.0, 1.0]


@pytest.mark.parametrize("protocol", [["r1", "--seeds", "1"], ["r3"], ["r3", "--absent"]])
def test_a_gallery_shows_the_results_of_the_table(phantoms, tmp_path, monkeypatch, capsys, protocol):
    redone = []
    draw = gallery._draw
    monkeypatch.setattr(gallery, "_draw", lambda line, result: (redone.append(result), draw(line, result)))
    options = ["--dataset", str(phantoms), "--method", "copy,ellipsoid", "--cases", "p1,p2"]
    picture = tmp_path / "worst.png"
    assert cli.main(["evaluate", *protocol, *options, "--gallery", str(picture)]) == 0
    assert f"gallery    {picture}" in capsys.readouterr().out and picture.stat().st_size > 10_000
    assert {result.row["query"] for result in redone} == {"p1", "p2"}
    for result in redone:
        if "--absent" in protocol:
            voxel_ml = float(np.prod(result.study.spacing)) / 1000
            assert result.found.sum() * voxel_ml == pytest.approx(result.row["false_ml"])
        else:
            drawn = result.row.get("drawn", [])
            measured = score(result.found, result.truth, result.study.spacing, drawn, result.study.labelled)
            assert measured["dice"] == pytest.approx(result.row["dice"])
