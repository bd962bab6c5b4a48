"""Whether a weights file of the user's is whole, also outside of Slicer."""

from __future__ import annotations

import os
from pathlib import Path

from qnetseg import models
from qnetseg.errors import WeightsError
from qnetseg.tensor_file import MODEL_FORMAT, read_header, require_checksum


def use_weights_file(path: str | os.PathLike[str]) -> Path:
    """The path, if the file is a QNetSegment model and its content matches its own checksum.

    Found out without torch, so that a wrong file is refused at once. A file of the catalogue, wherever it
    lies, must also have the catalogue's checksum. Raises WeightsError.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'.", "Choose another file.")
    header = read_header(path)
    if header.metadata.get("format") != MODEL_FORMAT:
        raise WeightsError(
            f"The file '{path.name}' is not a QNetSegment model.", "Choose a model that QNetSegment wrote."
        )
    for entry in models.read_catalogue().models:
        if entry.file == path.name:
            models.verify(path, entry)
    require_checksum(path, header)
    models.kind_of(path)  # refuses weights of a baseline
    return models.resolve_model(path)
