"""What result files of R1, R2 and R3 say, as tables for the terminal and for `report.whole_volume`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..comparison import Difference
from ..summary import Summary
from .drawn_slices import LARGEST, RANDOM
from .methods import METHODS
from .rows import AbsentFigures, Headlines, R1Figures, R3Figures

CHOICE_TITLES = {LARGEST: "largest area", RANDOM: "random, middle half"}
PICK_TITLES = {"worst": "the worst slice next", "flag": "the flagged slice next"}
KIND_COLUMNS = ["method", "kind of structure", "rows", "mean Dice", "worst tenth"]
WIDE = 6  # structures beyond which they have a table of their own
SEEN = {False: "", True: "; trained on scored cases", None: ""}

Table = tuple[str, list[str], list[list[str]]]  # heading, columns, rows


def summary_lines(result: dict[str, Any]) -> list[str]:
    """The tables of one run for a terminal."""
    lines = [where(result)]
    for heading, columns, rows in tables(result):
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        lines += ["", heading]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [columns, *rows]
        ]
    return [*lines, "", footnote(result)]


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """Heading, columns and rows of every table of a result."""
    if result["protocol"] == "R1":
        yield from _r1(result)
    elif result["protocol"] == "R2":
        yield from _r2(result)
    elif result["absent"]:
        yield _absent(result)
    else:
        yield _r3(result)


def _r1(result: dict[str, Any]) -> Iterator[Table]:
    structures = result["structures"]
    shown = structures if len(structures) <= WIDE else []
    columns = [
        *("method", "drawn", *shown, "mean", "interval", "difference", "surface Dice", "HD95 mm"),
        *("volume error %", "end error slices", "end error mm", "false ml", "s"),
    ]
    summary: dict[str, dict[str, R1Figures]] = result["summary"]
    for choice, methods in summary.items():
        rows = []
        for name, figures in methods.items():
            row = [*_named(name), *_dice_cells(figures["structures"], shown)]
            row.append(_difference(result["paired"][choice].get(name)))
            row += _surface_cells(figures["structures"])
            row += map(_number, (figures["volume_error"], figures["end_error_slices"]))
            row += map(_number, (figures["end_error_mm"], figures["false_ml"]))
            rows.append([*row, _number(figures["seconds"], 2)])
        yield f"Drawn slice: {CHOICE_TITLES[choice]}", columns, rows
        if not shown:
            each = [_dice_cells(figures["structures"], structures)[:-2] for figures in methods.values()]
            heading = f"By structure, drawn slice: {CHOICE_TITLES[choice]}"
            head = ["structure", *(_named(name)[0] for name in methods)]
            yield heading, head, [list(cells) for cells in zip(structures, *each, strict=True)]
        kinds = [
            [_named(name)[0], kind, str(each["rows"]), _number(each["dice"]), _number(each["worst_tenth"])]
            for name, figures in methods.items()
            for kind, each in figures.get("kinds", {}).items()  # older results have none
        ]
        if kinds:
            yield f"By kind of structure, drawn slice: {CHOICE_TITLES[choice]}", KIND_COLUMNS, kinds


def _r2(result: dict[str, Any]) -> Iterator[Table]:
    rounds = result["rounds"]
    goal = ["drawn until 90", "reach 90 %", "flag hits %"]
    for pick, methods in result["curves"].items():
        rows = []
        for name, curves in methods.items():
            headline: Headlines = result["headlines"][pick][name]
            needed = headline["slices_for_goal"]
            rows.append(
                [
                    _named(name)[0],
                    *(_number(entry["mean"]["dice"]) for entry in curves["dice"]),
                    f"over {rounds}" if needed is None else f"{needed:g}",
                    _number(headline["reached"], 0),
                    _number(headline["flag_hit"], 0),
                ]
            )
        columns = ["method", *(f"{n} drawn" for n in range(1, rounds + 1)), *goal]
        yield f"Simulated user: {PICK_TITLES[pick]}", columns, rows


def _r3(result: dict[str, Any]) -> Table:
    structures = result["structures"]
    columns = [
        *("method", *structures, "mean", "interval", "difference", "median", "worst tenth", "spread"),
        *("doubted %", "their Dice", "surface Dice", "HD95 mm", "false ml", "s"),
    ]
    summary: dict[str, R3Figures] = result["summary"]
    rows = []
    for name, figures in summary.items():
        row = [_named(name)[0], *_dice_cells(figures["structures"], structures)]
        row.append(_difference(result["paired"].get(name)))
        row += map(_number, (figures["median"], figures["worst_tenth"], figures["spread_over_supports"]))
        row += map(_number, (figures["doubted"], figures["dice_doubted"]))
        row += [*_surface_cells(figures["structures"]), _number(figures["false_ml"])]
        rows.append([*row, _number(figures["seconds"], 2)])
    return "Structure present", columns, rows


def _absent(result: dict[str, Any]) -> Table:
    structures = result["structures"]
    columns = ["method", *structures, "median ml", "mean ml", "left empty %", "or doubted %", "s"]
    summary: dict[str, AbsentFigures] = result["summary"]
    rows = []
    for name, figures in summary.items():
        cells = [_number(figures["structures"][structure]) for structure in structures]
        cells += map(_number, (figures["false_ml"], figures["false_ml_mean"]))
        cells += map(_number, (figures["left_empty"], figures["doubted"]))
        rows.append([_named(name)[0], *cells, _number(figures["seconds"], 2)])
    return "Structure absent: false volume", columns, rows


def _named(name: str) -> tuple[str, str]:
    """Title of a method and what its user draws; a method of older results may be gone."""
    return (METHODS[name].title, METHODS[name].given) if name in METHODS else (name, "")


def _dice_cells(entries: Summary, structures: Sequence[str]) -> list[str]:
    """Dice of each structure, their mean, and its interval."""
    cells = [_number(entries[name]["dice"] if name in entries else None) for name in structures]
    low, high = entries["mean"]["interval"]
    return [*cells, _number(entries["mean"]["dice"]), f"{low:.1f} to {high:.1f}"]


def _surface_cells(entries: Summary) -> list[str]:
    """Mean surface Dice and HD95."""
    return [_number(entries["mean"]["surface_dice"]), _number(entries["mean"]["hd95"])]


def _difference(entry: Difference | None) -> str:
    if not entry:
        return ""
    low, high = entry["interval"]
    return f"{entry['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def where(result: dict[str, Any]) -> str:
    """What was scored, with which model: a heading."""
    parts = [result["dataset"]]
    if result.get("support_dataset"):
        parts.append(f"drawn on {result['support_dataset']}")
    if result["fold"] is not None:
        parts.append(f"fold {result['fold']} ({result['scheme']})")
    if result.get("model"):
        parts.append(result["model"])
    return ", ".join(parts)


def footnote(result: dict[str, Any]) -> str:
    """How many studies stand behind the tables, and what to mind."""
    left_out = f"; left out: {result['left_out']}" if result["left_out"] else ""
    by = f", by revision {result['revision']}" if result.get("revision") else ""
    beside = result.get("beside")
    others = f"; the other methods by revision {beside['revision']} ({beside['file']})" if beside else ""
    seen = SEEN[result["trained_on_scored_cases"]]
    return f"{result['studies']} studies scored{by}{others}{left_out}{seen}."


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
