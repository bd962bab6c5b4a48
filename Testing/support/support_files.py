"""Support files with parts exchanged."""

from __future__ import annotations

import json

import numpy as np


def rewrite(path, header=None, **arrays):
    """The saved file with parts of its header or its arrays exchanged."""
    with np.load(path) as archive:
        content = dict(archive)
    content["header"] = np.array(json.dumps(json.loads(str(content["header"])) | (header or {})))
    np.savez(path, **(content | arrays))
