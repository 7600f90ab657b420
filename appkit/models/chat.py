"""Chat turns messages into tokens with the base's own chat template, for training and for answering."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from appkit.errors import DataError, ModelError
from appkit.models.batch import Example
from appkit.task import Message

__all__ = ["Chat"]


class Chat:
    """A tokenizer and its chat template.

    `prompt` gives the token ids up to where the answer begins. `example` gives the same ids, then the answer and the
    token that ends the turn, which is learned too. So training and answering share the prompt's ids by construction.
    A tokenizer without a template gets a plain one: the texts, a line each; it needs an end-of-text token (ModelError).
    A message's text cannot end its turn or open another: an invisible space is put into the names of special tokens.
    In an answer such names are a fault: see `audit`.
    """

    def __init__(self, tokenizer: Any, extra_stop: Sequence[int | None] = ()) -> None:
        self.tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self.stop = frozenset({token for token in (tokenizer.eos_token_id, *extra_stop) if token is not None})
        self._stops: dict[tuple[str, ...], frozenset[int]] = {}
        if not self.stop:
            raise ModelError(
                "the base's tokenizer has no end-of-text token; set eos_token in tokenizer_config.json"
            )

    @classmethod
    def of(cls, base: Any) -> Chat:
        """Make the chat of a loaded base, whose generation config may name more tokens that end a turn."""
        ends = getattr(base.model.generation_config, "eos_token_id", None)
        return cls(base.tokenizer, ends if isinstance(ends, list) else [ends])

    @classmethod
    def at(cls, path: Path) -> Chat:
        """Make the chat of a model's directory, without loading its weights."""
        from transformers import GenerationConfig

        from appkit.models.files import load_tokenizer

        ends = None
        if (path / "generation_config.json").exists():
            ends = GenerationConfig.from_pretrained(path).eos_token_id
        return cls(load_tokenizer(path), ends if isinstance(ends, list) else [ends])

    def render(self, messages: Sequence[Message], answer: str | None = None) -> str:
        """Render the messages by the template: up to the answer, or with the answer and the end of its turn."""
        texts = [self._neutralize(_require_text(message)) for message in messages]
        if not self.has_template:
            text = (self.tokenizer.bos_token or "") + "".join(text + "\n" for text in texts)
            return text if answer is None else text + answer + self._require_end_of_text()
        turns = [
            {"role": message.role, "content": text} for message, text in zip(messages, texts, strict=True)
        ]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return self._apply(turns, generation=answer is None)

    def _neutralize(self, text: str) -> str:
        """Break special tokens' names in a text: a document that quotes `<|im_end|>` could else open a system turn."""
        if self._special_names is None:
            return text
        return self._special_names.sub(lambda match: f"{match[0][0]}\u200b{match[0][1:]}", text)

    @cached_property
    def _special_names(self) -> re.Pattern[str] | None:
        """Matches the names of the tokenizer's special tokens; None if it has none."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        names = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None

    def _require_end_of_text(self) -> str:
        end = self.tokenizer.eos_token
        if end is None:
            raise ModelError(
                f"the tokenizer of {self.tokenizer.name_or_path or 'the base'} has neither a chat template nor an "
                "end-of-text token, so that no answer could end; set eos_token in its tokenizer_config.json, "
                "or choose a base with a chat template"
            )
        return str(end)

    def _apply(self, turns: list[dict[str, str]], generation: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
        except TemplateError:
            if turns[0]["role"] != "system" or len(turns) < 2:
                raise
            # some templates refuse a system turn: its text then begins the user's turn
            merged = {"role": turns[1]["role"], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            return self._apply([merged, *turns[2:]], generation)
        return str(text)

    def ids(self, text: str) -> list[int]:
        """Tokenize a text, without adding special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokenize the messages up to where the answer begins."""
        return self.ids(self.render(messages))

    def example(self, messages: Sequence[Message], answer: str) -> Example:
        """Tokenize prompt, answer and end of turn; supervised from the answer's first token on.

        Raises ModelError when the text with the answer does not begin with the text without it, or when no token
        ends the turn.
        """
        before = self.render(messages)
        whole = self.render(messages, answer)
        if not whole.startswith(before):
            raise ModelError(
                "the chat template does not round-trip: with the answer it renders "
                f"{whole[: len(before) + 20]!r}, without it {before!r}; fix the template or choose another base"
            )
        prompt, completion = self.ids(before), self.ids(whole[len(before) :])
        ends = [place for place, token in enumerate(completion) if token in self.stop]
        if not ends:
            raise ModelError(
                f"no end-of-turn token follows the answer in the chat template (looked for ids "
                f"{sorted(self.stop)}); the model would never learn to stop; fix the template or eos_token"
            )
        return Example(tuple(prompt + completion[: ends[0] + 1]), len(prompt))

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode tokens to text, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def stops(self, strings: Sequence[str]) -> frozenset[int]:
        """List the tokens that end an answer: the end-of-turn tokens and every token whose text holds a `strings`."""
        if not strings:
            return self.stop
        if (cached := self._stops.get(tuple(strings))) is not None:
            return cached
        vocabulary = len(self.tokenizer)
        texts = self.tokenizer.batch_decode([[token] for token in range(vocabulary)])
        extra = {token for token, text in enumerate(texts) if any(stop in text for stop in strings)}
        self._stops[tuple(strings)] = self.stop | extra
        return self._stops[tuple(strings)]

    def fingerprint(self) -> str:
        """Hash the template's renderings of fixed probe messages, as text and as ids."""
        probes = [
            [Message.of("user", "Every dog barks.")],
            [
                Message.of("system", "Be brief."),
                Message.of("user", "∀x (P(x) → Q(x))  é\n"),
                Message.of("assistant", "ok"),
                Message.of("user", "🙂"),
            ],
        ]
        rendered = [[self.render(probe), self.prompt(probe), self.render(probe, "Yes.")] for probe in probes]
        return "sha256:" + hashlib.sha256(json.dumps(rendered, ensure_ascii=False).encode()).hexdigest()


def _require_text(message: Message) -> str:
    try:
        return message.text
    except TypeError as error:
        raise DataError(f"{error}; no pack reads pictures or sound yet, give text") from None
