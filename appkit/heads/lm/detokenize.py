"""Turns an engine's token ids into text: as it comes, cut before a stop string, in whole characters."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from appkit.heads.roles import Asked, Job, Piece

if TYPE_CHECKING:
    from appkit.models.chat import Chat

__all__ = ["Answer", "Delta", "Detokenizer", "StopStrings", "answer", "deltas", "token_bytes"]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = {chr(byte): byte for byte in PRINTABLE} | {
    chr(256 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))
}
"""what byte-level vocabularies write for each byte (Radford et al. 2019)"""


@dataclass(frozen=True)
class Delta:
    """Holds new text of an answer, and the tokens that were read for it."""

    text: str
    tokens: tuple[int, ...]
    """without the one that ended the answer"""
    log_probabilities: tuple[float, ...]
    """in nats, of each token and of the one that ended the answer; empty unless asked for"""
    finish: Literal["stop", "length"] | None
    """None while more is to come; "length" when the answer was cut"""
    count: int
    """tokens that were generated, the one that ended the answer included"""


@dataclass(frozen=True)
class Answer:
    """Holds a whole answer."""

    text: str
    tokens: tuple[int, ...]
    """without the one that ended the answer"""
    log_probabilities: tuple[float, ...]
    """in nats, of each token and of the one that ended the answer; empty unless asked for"""
    finish: Literal["stop", "length"]
    """length: the answer was cut"""
    count: int
    """tokens that were generated, the one that ended the answer included"""


class Detokenizer:
    """Turns token ids into text as they come: a character is returned once all of its tokens are there.

    What a token means can depend on the ones before it (a leading space), so some are always decoded along.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.tokens: list[int] = []
        self.start, self.end = 0, 0  # the text of tokens[start:end] was returned, and is decoded along

    def add(self, tokens: Sequence[int], *, last: bool = False) -> str:
        """Adds tokens; returns the text that they complete."""
        self.tokens += tokens
        out = self.chat.decode(self.tokens[self.start : self.end])
        now = self.chat.decode(self.tokens[self.start :])
        if len(now) <= len(out) or (now.endswith(REPLACEMENT) and not last):
            return ""
        self.start, self.end = self.end, len(self.tokens)
        return now[len(out) :]


def token_bytes(chat: Chat, token: int) -> bytes:
    """Finds the bytes of a token, which may be part of a character; those of its text where it is whole."""
    text = chat.decode([token])
    if REPLACEMENT not in text:
        return text.encode()
    name = str(chat.tokenizer.convert_ids_to_tokens(token))
    if byte := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", name):  # SentencePiece's bytes
        return bytes.fromhex(byte[1])
    try:
        return bytes(BYTES[character] for character in name)
    except KeyError:
        return text.encode()


class StopStrings:
    """Cuts a text that comes in parts before the first of some strings, holding back what may begin one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = [string for string in strings if string]
        self.held = ""
        self.stopped = False

    def add(self, text: str, *, last: bool = False) -> str:
        """Adds text; returns what is certain to come before a stop. `stopped` turns true at one; no text follows."""
        if self.stopped:
            return ""
        text = self.held + text
        # the one that is complete first, as if each character came alone: one may begin or lie within another
        places = [
            (text.find(string) + len(string), text.find(string)) for string in self.strings if string in text
        ]
        if places:
            self.stopped, self.held = True, ""
            return text[: min(places)[1]]
        keep = 0 if last else max((_count_overlap(text, string) for string in self.strings), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _count_overlap(text: str, string: str) -> int:
    """Counts how many last characters of `text` are the first of `string`."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)


async def deltas(
    engine: Asked, job: Job, chat: Chat, stop_strings: Sequence[str] = ()
) -> AsyncGenerator[Delta]:
    """Yields the answer's text as it comes; the last delta, which may be empty, says why it ended."""
    reader, stops = Detokenizer(chat), StopStrings(stop_strings)
    async with aclosing(engine.stream(job)) as pieces:
        async for piece in pieces:
            last = piece.finish is not None
            text = stops.add(reader.add(piece.tokens, last=last), last=last)
            finish = "stop" if stops.stopped else piece.finish
            if text or piece.tokens or finish:
                count = len(piece.tokens) + (piece.finish == "stop")
                yield Delta(text, piece.tokens, piece.log_probabilities, finish, count)
            if finish:
                return  # closing the stream ends the engine's work


async def answer(engine: Asked, job: Job, chat: Chat, stop_strings: Sequence[str] = ()) -> Answer:
    """Returns the whole answer. Only stop strings need it piece by piece, to end the work when one comes."""
    if stop_strings:
        text, tokens, likely, finish, count = "", (), (), None, 0
        async with aclosing(deltas(engine, job, chat, stop_strings)) as parts:
            async for part in parts:
                text += part.text
                tokens += part.tokens  # type: ignore[assignment]
                likely += part.log_probabilities  # type: ignore[assignment]
                finish, count = part.finish, count + part.count
        return Answer(text, tokens, likely, finish or "length", count)
    piece: Piece = await engine.complete(job)
    ended = piece.finish == "stop"
    return Answer(
        chat.decode(piece.tokens),
        piece.tokens,
        piece.log_probabilities,
        piece.finish or "length",
        len(piece.tokens) + ended,
    )
