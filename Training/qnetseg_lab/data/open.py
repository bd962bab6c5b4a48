"""The open volumes whose own licence allows weights that anyone may use (class A of their README)."""

from __future__ import annotations

from pathlib import Path

from qnetseg.errors import DatasetError

from .catalogue import data_root

FOLDER = "open"

_LIMBS_CT = ("005", "010", "019", "036", "044", "047")
_LIMBS_MR = (
    *("005", "010", "013", "016", "017", "019", "021", "023", "030", "036"),
    *("037", "039", "040", "044", "047", "049"),
)

TRAINING = (
    *(
        "acrinflt001_ct_abdomen",
        "acrinflt001_ct_shoulders",
        "cmbcrc01068_ct_lung",
        "cptacpda00189_ct_lungbase",
    ),
    *(
        "crlm1004_ct_abdomen",
        "crlm1006_ct_abdomen",
        "kits072_ct_slab",
        "lidc0001_ct_chest",
        "lidc0314_ct_chest",
    ),
    *("lungdxA0002_ct_chest", "lungfcp01_ct_lungvessels", "riderpilot0117_ct_chest"),
    *(f"sts{number}_ct_limb" for number in _LIMBS_CT),
    *("tcgalihcA10X_ct_abdomen", "cmbcrc06489_mr_t2_a", "cmbcrc06489_mr_t2_b"),
    *("fetalsba21_mr_brain", "fetalsba26_mr_brain", "fetalsba31_mr_brain"),
    *("mial01_mr_fetal_run1", "mial01_mr_fetal_run3", "mial01_mr_fetal_run5", "pdmr292921_mr_mouse"),
    *("sts001_mr_t1_thigh", "sts001_mr_t2fs_thigh"),
    *(f"sts{number}_mr_t1_limb" for number in _LIMBS_MR),
    *("studyforrest02_mr_t1_head", "tcgalihc4073_mr_haste_cor", "ucsfbr06_mr_breast", "ucsfbr08_mr_breast"),
    "vsseg001_mr_t1gd_head",
)
"""Class A without the Sunnybrook files, whose patients R1 scores."""

PARTLY_SEGMENTED = ("lungfcp01_ct_lungvessels",)
"""Segmentations that leave most of the structure out."""


def open_volumes() -> list[tuple[str, Path, Path | None]]:
    """(name, image, segmentation if there is a whole one). Raises `DatasetError` for a missing image."""
    folder = data_root() / FOLDER
    found: list[tuple[str, Path, Path | None]] = []
    for name in TRAINING:
        image, segmentation = folder / f"{name}.nii.gz", folder / f"{name}_seg.nii.gz"
        if not image.is_file():
            raise DatasetError(f"The open volume {image.name} is missing in '{folder}'.", "Restore it.")
        whole = segmentation.is_file() and name not in PARTLY_SEGMENTED
        found.append((name, image, segmentation if whole else None))
    return found
