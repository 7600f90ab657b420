"""Writes answers as OpenAI's routes give them: chats, texts, and log-probabilities of tokens."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from appkit.heads.lm.answer import read_tokens
from appkit.heads.lm.detokenize import Answer, Delta, Detokenizer, token_bytes
from appkit.heads.lm.head import LmHead
from appkit.serving.gateway.registry import Target

__all__ = ["ChatForm", "Form", "TextForm", "make_reader"]

Reader = Callable[[Answer], tuple[str, str | None]]


def make_reader(target: Target, stops: Sequence[str]) -> Reader:
    """Makes the function from an answer to the pack's reading of it, as typed routes give it, and a warning.

    A reading that is no text is written as JSON. Where there is none, the raw text comes with a warning.
    stops: of the caller; an answer that they cut is read as it was cut.
    """
    deployment = target.deployment
    assert deployment is not None
    head = deployment.head
    assert isinstance(head, LmHead)

    def read(answer: Answer) -> tuple[str, str | None]:
        if stops:
            parsed = head.words.parse(answer.text.strip())
        else:
            ended = answer.finish == "stop"
            loop = head.decoding.loop
            parsed = read_tokens(head.words, head.chat, answer.tokens, ended=ended, loop=loop).parsed
        if parsed.error is not None:
            reason = " ".join(str(parsed.error).split())[:300]
            return answer.text, f"the answer cannot be read ({reason}); the content is what the model wrote"
        value = parsed.value
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), None

    return read


class Form:
    """Formats the answers of one request, which have one id."""

    prefix = object = chunk_object = ""

    def __init__(self, target: Target, log_probabilities: bool) -> None:
        self.target, self.log_probabilities = target, log_probabilities
        self.id, self.created = f"{self.prefix}-{secrets.token_hex(12)}", int(time.time())
        self.seen: set[int] = set()

    def envelope(self, choices: list[Any], kind: str | None = None) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind or self.object,
            "created": self.created,
            "model": self.target.ref,
            "choices": choices,
        }

    def empty(self) -> dict[str, Any]:
        return self.envelope([], self.chunk_object)

    def chunk(self, number: int, delta: Delta) -> dict[str, Any]:
        return self.envelope([self.part(number, delta)], self.chunk_object)

    def choice(self, number: int, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError

    def part(self, number: int, delta: Delta) -> dict[str, Any]:
        raise NotImplementedError


def _show_token(content: bytes, prefix: str = "") -> str:
    r"""Writes a token as OpenAI does: its text, or `\xe2\x88` for part of a character."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return prefix + "".join(f"\\x{byte:02x}" for byte in content)


class ChatForm(Form):
    prefix, object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, target: Target, log_probabilities: bool, read: Reader | None) -> None:
        """read: None: the content is what the model wrote. A stream always is."""
        super().__init__(target, log_probabilities)
        self.read = read

    def choice(self, number: int, answer: Answer) -> dict[str, Any]:
        content, warning = self.read(answer) if self.read else (answer.text, None)
        return {
            "index": number,
            "message": {"role": "assistant", "content": content, "refusal": None},
            "finish_reason": answer.finish,
            "logprobs": self._likely(answer.tokens, answer.log_probabilities),
        } | ({"warning": warning} if warning else {})

    def part(self, number: int, delta: Delta) -> dict[str, Any]:
        message: dict[str, Any] = {"content": delta.text}
        if number not in self.seen:
            self.seen.add(number)
            message["role"] = "assistant"
        return {
            "index": number,
            "delta": message,
            "finish_reason": delta.finish,
            "logprobs": self._likely(delta.tokens, delta.log_probabilities),
        }

    def _likely(self, tokens: Sequence[int], values: Sequence[float]) -> dict[str, Any] | None:
        if not self.log_probabilities:
            return None
        content = []
        for token, value in zip(tokens, values, strict=False):  # the end's has no token
            written = token_bytes(self.target.chat, token)
            content.append(
                {
                    "token": _show_token(written),
                    "logprob": value,
                    "bytes": list(written),
                    "top_logprobs": [],
                }
            )
        return {"content": content, "refusal": None}


class TextForm(Form):
    prefix, object, chunk_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, target: Target, log_probabilities: bool) -> None:
        super().__init__(target, log_probabilities)
        self.readers: dict[int, tuple[Detokenizer, list[int]]] = {}
        """of each choice: its text so far, and the characters of it"""

    def choice(self, number: int, answer: Answer) -> dict[str, Any]:
        return self._choice(number, answer.text, answer.finish, answer.tokens, answer.log_probabilities)

    def part(self, number: int, delta: Delta) -> dict[str, Any]:
        return self._choice(number, delta.text, delta.finish, delta.tokens, delta.log_probabilities)

    def _choice(
        self, number: int, text: str, finish: str | None, tokens: Sequence[int], values: Sequence[float]
    ) -> dict[str, Any]:
        likely = None
        if self.log_probabilities:
            parts = [token_bytes(self.target.chat, token) for token in tokens]
            likely = {
                "tokens": [_show_token(part, "bytes:") for part in parts],
                "bytes": [list(part) for part in parts],
                "token_logprobs": list(values[: len(tokens)]),
                "top_logprobs": None,
                "text_offset": self._find_offsets(number, tokens),
            }
        return {"index": number, "text": text, "finish_reason": finish, "logprobs": likely}

    def _find_offsets(self, number: int, tokens: Sequence[int]) -> list[int]:
        """Finds where in the choice's text each token begins, in characters; a part of one where the character does."""
        reader, length = self.readers.setdefault(number, (Detokenizer(self.target.chat), [0]))
        offsets = []
        for token in tokens:
            offsets.append(length[0])
            length[0] += len(reader.add([token]))
        return offsets
