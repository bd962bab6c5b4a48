"""Figures printed in the paper (arXiv 2208.11451): Dice in per cent, "mean ± deviation" as printed.

Orders of figures: CHAOST2 liver, right kidney, left kidney, spleen, mean; CMR LV blood pool, LV myocardium,
right ventricle, mean.
"""

from __future__ import annotations

# Table 1: (data set, setting) -> method -> figures.
TABLE1: dict[tuple[str, int], dict[str, tuple[str, ...]]] = {
    ("chaos", 1): {
        "senet": ("29.02", "47.96", "45.78", "47.30", "42.51"),
        "panet": ("73.81 ± 3.39", "80.67 ± 3.35", "69.48 ± 6.05", "69.10 ± 10.18", "73.27 ± 7.90"),
        "alpnet": ("78.55 ± 2.48", "83.11 ± 5.35", "78.16 ± 6.54", "70.58 ± 6.16", "77.60 ± 7.01"),
        "adnet": ("82.11 ± 2.19", "85.80 ± 4.51", "73.86 ± 8.23", "72.29 ± 8.87", "78.51 ± 8.63"),
        "qnet": ("81.74 ± 3.83", "87.98 ± 4.55", "78.36 ± 8.36", "75.99 ± 8.64", "81.02 ± 8.08"),
    },
    ("chaos", 2): {
        "senet": ("27.43", "61.32", "62.11", "51.80", "50.66"),
        "panet": ("69.37 ± 5.44", "66.94 ± 5.67", "63.17 ± 7.84", "61.25 ± 7.84", "65.68 ± 7.54"),
        "alpnet": ("70.73 ± 3.81", "73.30 ± 9.72", "61.20 ± 8.22", "62.98 ± 9.28", "67.05 ± 9.57"),
        "adnet": ("77.03 ± 3.36", "56.68 ± 10.84", "59.64 ± 9.04", "59.44 ± 7.46", "63.20 ± 11.48"),
        "qnet": ("78.25 ± 4.81", "65.94 ± 10.08", "64.81 ± 7.42", "65.37 ± 8.61", "68.59 ± 9.73"),
    },
    ("cmr", 1): {
        "senet": ("58.04", "25.18", "12.86", "32.02"),
        "panet": ("72.77 ± 7.66", "44.76 ± 4.08", "57.13 ± 4.54", "58.20 ± 12.79"),
        "alpnet": ("85.42 ± 3.95", "63.38 ± 3.95", "74.07 ± 4.47", "74.29 ± 9.90"),
        "adnet": ("86.26 ± 2.18", "65.08 ± 4.85", "76.50 ± 1.97", "75.95 ± 9.34"),
        "qnet": ("90.25 ± 1.44", "65.92 ± 2.96", "78.19 ± 2.95", "78.15 ± 10.22"),
    },
}

# Table 2 (CHAOST2, Setting 2): part -> row -> figures.
TABLE2: dict[str, dict[str, tuple[str, ...]]] = {
    "Feature extractor": {
        "DP (DS on Layer 2)": ("72.56", "55.91", "52.61", "60.65", "60.43 ± 15.90"),
        "DP (DS on Layer 3)": ("71.00", "56.74", "55.05", "66.01", "62.20 ± 12.02"),
        "DP (DS on Layer 4)": ("77.59", "62.08", "62.86", "62.42", "66.24 ± 9.62"),
    },
    "Added components": {
        "32 x 32": ("77.03", "56.68", "59.54", "59.44", "63.20 ± 11.48"),
        "64 x 64": ("78.65", "59.58", "60.82", "62.80", "65.46 ± 11.40"),
        "DP": ("78.53", "61.35", "64.30", "62.55", "66.68 ± 9.99"),
        "DP + PR": ("78.35", "62.91", "64.94", "63.13", "67.33 ± 9.65"),
        "DP + TA": ("78.79", "63.87", "64.69", "64.38", "67.93 ± 10.09"),
        "DP + TA + PR": ("78.25", "65.94", "64.81", "65.37", "68.59 ± 9.73"),
    },
}

# Table 3 (CHAOST2): alpha -> mean of Setting 1 and of Setting 2. The two upper rows of our copy are
# damaged; the paper's text says that 0.8 is the best alpha of Setting 2, which says which is which.
UNREADABLE = "not readable in our copy"
TABLE3: dict[float, tuple[str, str]] = {
    1.0: (UNREADABLE, "67.28 ± 11.68"),
    0.8: (UNREADABLE, "68.75 ± 11.71"),
    0.6: ("80.28 ± 8.33", "68.59 ± 9.73"),
    0.5: ("79.72 ± 9.00", "67.98 ± 10.47"),
    0.4: ("79.30 ± 9.11", "66.89 ± 10.09"),
    0.2: ("78.64 ± 8.74", "65.89 ± 10.49"),
}

# What the paper's Q-Net was trained with, as recipes/paper-*.toml have it; the entries that the report tells.
RECIPE = {
    "start": "torchvision:deeplabv3_resnet101.COCO_WITH_VOC_LABELS_V1",
    "steps": 30000,
    "episodes": {"pairs": 1, "structures": 1, "crop": 0},
    "model": {"depth": 101, "size": 256},
}

# The project's goals: mean Dice in per cent by data set and setting (`strict`).
GOALS = {("chaos", 1): 81.0, ("chaos", 2): 69.0, ("cmr", 1): 78.0}

TITLES = {"chaos": "CHAOST2 (ABD)", "cmr": "CMR"}
METHODS = {
    "senet": "SE-Net",
    "panet": "PANet",
    "alpnet": "ALPNet (SSL-ALPNet)",
    "adnet": "ADNet",
    "qnet": "Q-Net",
}
