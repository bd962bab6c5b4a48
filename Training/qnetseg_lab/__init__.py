"""The laboratory of QNetSegment: what trains and scores, beside the engine that a clinician installs.

`data` finds data sets, `training` makes models, `baselines` holds the few-shot networks that Q-Net is
compared with, `evaluation` scores, `report` writes the tables, and `commands` are what all that adds to
`qnetseg`.
"""

from __future__ import annotations

__version__ = "0.2.0"
