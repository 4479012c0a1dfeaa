"""Text files with one entry a line, list files and class lists, and the signs that no entry may hold."""

import unicodedata

from d3s2.base.errors import D3S2Error
from d3s2.data.files.places import FilePath, text_of

STRAY = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of the signs that no name may hold."""


def filled_lines(path: FilePath, what: str, error: type[D3S2Error]) -> list[tuple[int, str]]:
    """Number (from 1) and text of each line that is not blank, without the space around it.

    Lines end as on any system, and nowhere else: a name that holds another sign which is sometimes taken for the end of
    a line is refused by who uses it, not made into two.

    Args:
        path: a UTF-8 file, with or without a byte order mark.
        what: what it is, for messages.
        error: raised where it cannot be read.
    """
    lines = text_of(path, what, error).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def stray_sign(text: str) -> str | None:
    """The first sign of a name that cannot stand in a line of text, None where there is none.

    Such are control characters (line breaks among them), separators of lines and paragraphs, and what Python makes of
    bytes in a file name that are not UTF-8.
    """
    if text.isprintable():
        return None
    return next((sign for sign in text if unicodedata.category(sign) in STRAY), None)
