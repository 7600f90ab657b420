"""Messages to tokens, by the base's own chat template: the same function for training and for answering."""

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

    prompt: messages -> token ids up to where the answer begins. example: the same ids, then the answer and
    the token that ends the turn, which is learned too. Training and answering share the prompt's ids by
    construction. A tokenizer without a template gets the plain one: the texts, a line each; it needs an
    end-of-text token (ModelError). What stands in a message cannot end its turn or open another: the names of
    the tokens that do are broken with an invisible space. In an answer they are a fault: see `audit`.
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
        """Of a loaded base: its generation config may name more tokens that end a turn."""
        ends = getattr(base.model.generation_config, "eos_token_id", None)
        return cls(base.tokenizer, ends if isinstance(ends, list) else [ends])

    @classmethod
    def at(cls, path: Path) -> Chat:
        """Of a model's directory, without its weights."""
        from transformers import GenerationConfig

        from appkit.models.files import load_tokenizer

        ends = None
        if (path / "generation_config.json").exists():
            ends = GenerationConfig.from_pretrained(path).eos_token_id
        return cls(load_tokenizer(path), ends if isinstance(ends, list) else [ends])

    def render(self, messages: Sequence[Message], answer: str | None = None) -> str:
        """The template's text: up to the answer, or the answer and the end of the turn included."""
        texts = [self._harmless(_text(message)) for message in messages]
        if not self.has_template:
            text = (self.tokenizer.bos_token or "") + "".join(text + "\n" for text in texts)
            return text if answer is None else text + answer + self._end_of_text()
        turns = [
            {"role": message.role, "content": text} for message, text in zip(messages, texts, strict=True)
        ]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return self._apply(turns, generation=answer is None)

    def _harmless(self, text: str) -> str:
        """A document that quotes `<|im_end|>` would else speak with the system's voice."""
        if self._names is None:
            return text
        return self._names.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", text)

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        """Of the tokens that are no text."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        names = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None

    def _end_of_text(self) -> str:
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
            # some templates refuse a system turn: its text then opens the user's
            merged = {"role": turns[1]["role"], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            return self._apply([merged, *turns[2:]], generation)
        return str(text)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the answer begins."""
        return self.ids(self.render(messages))

    def example(self, messages: Sequence[Message], answer: str) -> Example:
        """Prompt, answer and end of turn; supervised from the answer's first token on.

        Raises ModelError when the template does not round-trip: when the text with the answer does not begin
        with the text without it, or when nothing ends the turn.
        """
        before = self.render(messages)
        whole = self.render(messages, answer)
        if not whole.startswith(before):
            raise ModelError(
                "the chat template does not round-trip: with the answer it renders "
                f"{whole[: len(before) + 20]!r}, without it {before!r}; fix the template or choose another base"
            )
        prompt, rest = self.ids(before), self.ids(whole[len(before) :])
        ends = [place for place, token in enumerate(rest) if token in self.stop]
        if not ends:
            raise ModelError(
                f"no end-of-turn token follows the answer in the chat template (looked for ids "
                f"{sorted(self.stop)}); the model would never learn to stop; fix the template or eos_token"
            )
        return Example(tuple(prompt + rest[: ends[0] + 1]), len(prompt))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def stops(self, strings: Sequence[str]) -> frozenset[int]:
        """The end-of-turn tokens and every token whose text holds one of `strings`."""
        if not strings:
            return self.stop
        if (known := self._stops.get(tuple(strings))) is not None:
            return known
        vocabulary = len(self.tokenizer)
        texts = self.tokenizer.batch_decode([[token] for token in range(vocabulary)])
        found = {token for token, text in enumerate(texts) if any(stop in text for stop in strings)}
        self._stops[tuple(strings)] = self.stop | found
        return self._stops[tuple(strings)]

    def fingerprint(self) -> str:
        """Hash of what the template makes of fixed probe messages, as text and as ids."""
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


def _text(message: Message) -> str:
    try:
        return message.text
    except TypeError as error:
        raise DataError(f"{error}; no pack reads pictures or sound yet, give text") from None
