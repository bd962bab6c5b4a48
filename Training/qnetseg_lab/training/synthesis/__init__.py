"""Windows to learn the propagation of a drawing from, made at random: no label of a patient is needed.

Random bodies in random contrast, as SynthSeg (Billot et al. 2023, https://arxiv.org/abs/2107.09559) and
anatomix (Dey et al. 2025, https://arxiv.org/abs/2411.02372) do it, and supervoxels and segmentations of real
volumes.
Everything is made in batches on the device that trains.
"""

from .real_volumes import OPEN, keep_supervoxels, load_tissues
from .sample import Sample, make_batch
from .tissue import Division, Tissue
from .windows import WindowRecipe

__all__ = [
    "OPEN",
    "Division",
    "Sample",
    "Tissue",
    "WindowRecipe",
    "keep_supervoxels",
    "load_tissues",
    "make_batch",
]
