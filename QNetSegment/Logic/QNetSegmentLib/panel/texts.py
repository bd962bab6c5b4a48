"""Names that users gave, as widgets show them: Qt takes <b> for bold type, and & for the key of a button.

Labels are plain text by the property `textFormat`; here is what has no such property.
"""

from __future__ import annotations

import html


def on_button(name: str) -> str:
    """A name as part of a button's text."""
    return name.replace("&", "&&")


def in_rich_text(text: str) -> str:
    """A text for a tool tip or a message box, which take what looks like markup for it."""
    if "<" not in text and "&" not in text:
        return text
    return "<p>" + html.escape(text, quote=False).replace("\n", "<br>") + "</p>"
