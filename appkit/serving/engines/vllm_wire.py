"""Writes jobs and reads answers in vLLM's wire format."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from appkit.serving.engines.protocol import EngineGone, Job, Piece

__all__ = ["body", "gone", "lines", "piece", "reason"]


def gone() -> EngineGone:
    """Makes the error of a request whose engine ended."""
    return EngineGone("the engine ended while it was answering; it is being started again, ask once more")


def body(job: Job) -> dict[str, Any]:
    """Writes a job as a request. It never carries a text to echo, or `prompt_logprobs`."""
    request: dict[str, Any] = {
        "model": job.adapter,
        "prompt": list(job.tokens),
        "max_tokens": job.max_tokens,
        "temperature": job.temperature,
        "top_p": job.top_p,
        "top_k": job.top_k,
        "seed": 2**63 - 1 if job.seed == -1 else job.seed,  # vLLM takes -1 for no seed
        "stop_token_ids": sorted(job.stop),
        "return_token_ids": True,
        "skip_special_tokens": False,
    }
    if job.log_probabilities:
        request["logprobs"] = 0
    if job.grammar is not None:
        request["structured_outputs"] = {"grammar": job.grammar}
    return request


async def lines(answer: Any) -> AsyncGenerator[str]:
    """Yields the lines of an answer that streams.

    httpx's own lines end at U+2028 and its like too, which vLLM writes as they are.
    """
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode()


def piece(choice: Mapping[str, Any], job: Job) -> Piece:
    """Reads a choice of an answer, without the token that ended it. Raises EngineGone when it was cut off."""
    tokens = tuple(choice["token_ids"] or ())
    likely = tuple((choice.get("logprobs") or {}).get("token_logprobs") or ())
    finish = {"stop": "stop", "length": "length", None: None}.get(choice["finish_reason"], "gone")
    if finish == "gone":  # "abort", "error"
        raise gone()
    if finish == "stop" and tokens and tokens[-1] in job.stop:
        tokens = tokens[:-1]
    return Piece(tokens, likely, finish)  # type: ignore[arg-type]


def reason(text: str) -> str:
    """Reads the message in an error's body, without the rest."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(text)["error"]["message"])[:300]
    return text[:300]
