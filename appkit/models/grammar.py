"""Keeps answers to a grammar by xgrammar, which vLLM uses too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from appkit.errors import ConfigError

__all__ = ["Constraint"]

KEPT = 256 * 2**20
"""bytes of compiled grammars that are kept"""


class Constraint:
    """Constrains each row by its grammar (EBNF), or None. Raises ConfigError without xgrammar, or for a bad grammar."""

    def __init__(
        self, grammars: Sequence[str | None], tokenizer: Any, vocabulary: int, stop: Sequence[int]
    ) -> None:
        try:
            import xgrammar
        except ModuleNotFoundError:
            raise ConfigError("a grammar needs xgrammar; pip install 'appkit[serve]'") from None
        self.bitmask = xgrammar.allocate_token_bitmask(1, vocabulary)
        compiler = _make_compiler(tokenizer, vocabulary, tuple(stop))
        self.matchers = [
            grammar and xgrammar.GrammarMatcher(_compile(compiler, grammar), override_stop_tokens=list(stop))
            for grammar in grammars
        ]

    def __call__(self, logits: Any, rows: Sequence[int]) -> None:
        """Masks in logits (B, V), in place, the tokens that each row's grammar does not allow next."""
        import xgrammar

        for place, row in enumerate(rows):
            if matcher := self.matchers[row]:
                matcher.fill_next_token_bitmask(self.bitmask)
                xgrammar.apply_token_bitmask_inplace(
                    logits[place : place + 1], self.bitmask.to(logits.device)
                )

    def accept(self, row: int, token: int) -> None:
        """Advances a row's grammar by the token that was chosen."""
        if matcher := self.matchers[row]:
            matcher.accept_token(token)

    def watch(self, row: int, token: int, likely: float | None) -> bool:
        """Advances a row's grammar as `generate` calls it; ends no row."""
        self.accept(row, token)
        return False


@lru_cache(maxsize=4)
def _make_compiler(tokenizer: Any, vocabulary: int, stop: tuple[int, ...]) -> Any:
    """Makes what compiles grammars for a vocabulary, and keeps some: reading the vocabulary takes the longest."""
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=vocabulary, stop_token_ids=list(stop)
    )
    return xgrammar.GrammarCompiler(info, cache_limit_bytes=KEPT)


def _compile(compiler: Any, grammar: str) -> Any:
    try:
        return compiler.compile_grammar(grammar)
    except RuntimeError as error:
        raise ConfigError(f"the grammar cannot be read: {str(error).splitlines()[0]}") from None
