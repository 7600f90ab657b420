"""Answers that keep to a grammar in the transformers engine, by the library that vLLM uses too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from appkit.serving.engines.protocol import JobRefused

__all__ = ["Constraint"]


class Constraint:
    """One grammar (EBNF) for each row, or None. Raises JobRefused when xgrammar is missing or cannot read one."""

    def __init__(
        self, grammars: Sequence[str | None], tokenizer: Any, vocabulary: int, stop: Sequence[int]
    ) -> None:
        try:
            import xgrammar
        except ModuleNotFoundError:
            raise JobRefused("a grammar needs xgrammar; pip install 'appkit[serve]'") from None
        self.bitmask = xgrammar.allocate_token_bitmask(1, vocabulary)
        self.matchers = [
            grammar
            and xgrammar.GrammarMatcher(
                _compiled(grammar, tokenizer, vocabulary, tuple(stop)), override_stop_tokens=list(stop)
            )
            for grammar in grammars
        ]

    def __call__(self, logits: Any, rows: Sequence[int]) -> None:
        """Leave in logits (B, V) only what each row's grammar allows next."""
        import xgrammar

        for place, row in enumerate(rows):
            if matcher := self.matchers[row]:
                matcher.fill_next_token_bitmask(self.bitmask)
                xgrammar.apply_token_bitmask_inplace(
                    logits[place : place + 1], self.bitmask.to(logits.device)
                )

    def accept(self, row: int, token: int) -> None:
        """The token that was taken."""
        if matcher := self.matchers[row]:
            matcher.accept_token(token)


@lru_cache(maxsize=32)
def _compiled(grammar: str, tokenizer: Any, vocabulary: int, stop: tuple[int, ...]) -> Any:
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=vocabulary, stop_token_ids=list(stop)
    )
    try:
        return xgrammar.GrammarCompiler(info).compile_grammar(grammar)
    except RuntimeError as error:
        raise JobRefused(f"the grammar cannot be read: {str(error).splitlines()[0]}") from None
