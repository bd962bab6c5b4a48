"""Stand-in for slicer.i18n: text goes through slicer.app.translate, so a test can install a translator.

As in Slicer, a translation whose placeholders differ from the text's is not used.
"""

import inspect
import logging
import string
from pathlib import Path

import slicer


def getContext(sourceFile):
    path = Path(sourceFile)
    inside_package = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if inside_package else path.stem


def translate(context, text):
    return slicer.app.translate(context, text) if hasattr(slicer, "app") else text


def tr(text):
    context = getContext(inspect.currentframe().f_back.f_code.co_filename)
    translated = translate(context, text)
    if _placeholders(text) != _placeholders(translated):
        logging.warning(f"{context}: the translation {translated!r} has other placeholders than {text!r}")
        return text
    return translated


def _placeholders(text):
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
