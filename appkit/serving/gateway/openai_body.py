"""Defines the bodies of OpenAI's routes: what is read, what changes nothing, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from appkit.errors import shortened
from appkit.serving.gateway.faults import Fault

__all__ = ["ChatRequest", "CompletionRequest", "Parameters"]

WITHOUT_EFFECT = {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
}
"""parameters for the provider's own use; the answer does not depend on them"""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "ignore_eos": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "use_beam_search": (False,),
}
"""parameters that are not supported, and their values that change nothing, which clients send unasked"""
GREEDY = 1e-5
"""below this temperature every draw is the likeliest token: a difference of logits is coarser than this"""
COOLEST = 0.01
"""lowest temperature of a draw; vLLM would take it for any lower one"""


class StreamOptions(BaseModel):
    include_usage: bool = False
    include_obfuscation: bool = False


class Parameters(BaseModel):
    """Holds the parameters that both routes take."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=256)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="none: the bundle's own cap")
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="0 (greedy), or 0.01 to 2; none: as the bundle was evaluated, mostly 0",
    )
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, description="-1 or 0: all tokens; others are not supported")
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63 - 64, description="of the first of n answers; each has its own"
    )
    n: int | None = Field(None, ge=1, le=64)
    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = Field(
        None
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else (self.stop or [])

    @field_validator("temperature")
    @classmethod
    def _round_temperature(cls, value: float | None) -> float | None:
        if value is None or value == 0 or value >= COOLEST:
            return value
        if 0 < value < GREEDY:
            return 0.0
        raise PydanticCustomError("temperature", f"it is 0 (greedy), or {COOLEST} to 2, got {value}")

    def check(self) -> None:
        """Raises Fault for what is not supported."""
        extra = dict(self.model_extra or {})
        if self.top_k not in (None, -1, 0):
            extra["top_k"] = self.top_k
        for name, value in extra.items():
            neutral = NEUTRAL.get(name, ())
            if value is None or name in WITHOUT_EFFECT or value in neutral:
                continue
            remedy = f" (or send {' or '.join(map(repr, neutral))})" if neutral else ""
            raise Fault(
                400,
                f"parameter {name[:80]!r} is not supported; leave it out{remedy}",
                code="unsupported_parameter",
            )
        if len(self.stops) > 16:
            raise Fault(400, f"at most 16 stop strings, got {len(self.stops)}")


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    tool_calls: list[Any] | None = Field(None, max_length=0, description="not supported")
    function_call: None = Field(None, description="not supported")

    @field_validator("role", mode="before")
    @classmethod
    def _check_role(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise PydanticCustomError(
                "role", f"turns of tools are not supported, got {role!r}; send the result as a user's text"
            )
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _check_content(cls, content: Any) -> Any:
        if content is None:
            raise PydanticCustomError("content", "it is null; send a text, or leave the message out")
        if not isinstance(content, str | list):
            raise PydanticCustomError("content", f"it is a text or a list of parts, got {shortened(content)}")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text":
                raise PydanticCustomError(
                    "content",
                    f"part {place} is no text but {shortened(kind or part)}; "
                    "pictures, sound and files are not read here, send text",
                )
            if not isinstance(part.get("text"), str):
                raise PydanticCustomError("content", f"part {place} has no text; send one")
        return content

    @field_validator("tool_calls", "function_call", mode="before")
    @classmethod
    def _check_calls(cls, calls: Any) -> Any:
        if calls:
            raise PydanticCustomError("calls", "calls of tools are not supported; leave the turn out")
        return None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Parameters):
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = False
    top_logprobs: Literal[0] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    raw: bool = Field(
        False, description="where the chat is the task's input: what the model wrote, not the pack's reading"
    )


class CompletionRequest(Parameters):
    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=1, description="of the chosen tokens")
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
