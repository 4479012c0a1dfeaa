"""Names that others chose, where they stand in Markdown or CSV: shown as they are, never read as a command."""

import re

MARKDOWN = re.compile(r"([\\`*\[\]|~])")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def markdown_text(text: str) -> str:
    """One line of Markdown that shows `text`: no link, tag, code, emphasis, or further cell of a table."""
    line = "".join(ENTITIES.get(mark, mark) for mark in " ".join(text.split()))
    return MARKDOWN.sub(r"\\\1", line)


def markdown_code(text: str) -> str:
    """One line for between two back quotes."""
    return " ".join(text.replace("`", "'").split())


def csv_text(text: str) -> str:
    """A cell that a spreadsheet takes for text: one that would be a formula gets the quote that spreadsheets hide."""
    return f"'{text}" if text.startswith(FORMULA) else text
