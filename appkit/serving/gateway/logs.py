"""Keeps a record of the log on lines of its own: what a caller sent begins no line, and moves no cursor."""

from __future__ import annotations

import logging

__all__ = ["protect_log", "write_plain"]

FORMATTER = logging.Formatter()


def write_plain(text: str) -> str:
    r"""Writes characters that are not printable as escapes: line ends as `\n`, ESC as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _rewrite(record: logging.LogRecord) -> bool:
    """Rewrites a record in place; lines of a traceback are indented, so that none looks like a record."""
    record.msg, record.args = write_plain(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        lines = FORMATTER.formatException(record.exc_info).split("\n")
        record.exc_text = "\n".join(f"  {write_plain(line)}" for line in lines)
    return True


def protect_log() -> None:
    """Rewrites what the process's handlers get from now on, whichever library logs it."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_rewrite)  # a second time changes nothing
