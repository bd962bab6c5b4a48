"""Names on the first page: data sets in short, and our method."""

from __future__ import annotations

OURS = "qnet"
DATASETS = {  # what it is called in short, and what it shows
    "chaos": ("abdominal MR", "CHAOST2: liver, kidneys, spleen"),
    "cmr": ("cardiac MR", "CMR: left ventricle, its muscle, right ventricle"),
    "sunnybrook": ("cardiac MR of another scanner", "Sunnybrook: left ventricle, its muscle"),
    "open-heart": ("contracted hearts", "Sunnybrook, the same patients: left ventricle"),
    "open-ct": ("body CT", "organs, vessels, bones, outlined by another program"),
    "open-cord": ("neck MR", "spinal cord"),
}


def short(dataset: str) -> str:
    """A data set in a few words."""
    return DATASETS.get(dataset, (dataset, ""))[0]
