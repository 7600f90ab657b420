"""Answers OpenAI's routes, where `model` is an alias, `name@sha` or a base's name.

A parameter that would change the answer and is not supported is refused, never ignored.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from appkit.heads.lm.detokenize import Answer, Delta, answer, deltas
from appkit.serving.engines.protocol import Job
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.request import (
    STREAMED,
    Caller,
    EventStream,
    RunningGateway,
    check_batch,
    gathered,
    in_use,
    log_texts,
    merged,
    room_for,
    until_gone,
    within_time,
)
from appkit.serving.gateway.state import Gateway

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["OpenAI"])
BASE_TOKENS = 256
"""tokens of an answer by a base alone, unless the caller asks for more"""
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


class StreamOptions(BaseModel):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Parameters(BaseModel):
    """Holds the parameters that both routes take."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=256)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="none: the bundle's own cap")
    temperature: float | None = Field(
        None, ge=0, le=2, description="none: as the bundle was evaluated, mostly 0"
    )
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63 - 64, description="of the first of n answers; each has its own"
    )
    n: int | None = Field(None, ge=1, le=64)
    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = Field(
        None
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else (self.stop or [])

    def check(self) -> None:
        """Raises Fault for what is not supported."""
        for name, value in (self.model_extra or {}).items():
            if value is not None and name not in WITHOUT_EFFECT:
                raise Fault(
                    400,
                    f"parameter {name[:80]!r} is not supported; leave it out",
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

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_Parameters):
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = False
    top_logprobs: Literal[0] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None


class CompletionRequest(_Parameters):
    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=1, description="of the chosen tokens")
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None


@router.get("/models")
async def models(gateway: RunningGateway, key: Caller) -> dict[str, Any]:
    """List every name that this key may use: aliases, versions and bases."""
    names = [*gateway.registry.aliases, *gateway.registry.versions, *gateway.registry.bases]
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "appkit"}
        for name in names
        if key.may_use(name)
    ]
    return {"object": "list", "data": listed}


@router.get("/models/{model}")
async def model(model: str, gateway: RunningGateway, key: Caller) -> dict[str, Any]:
    """Show one name that this key may use."""
    gateway.find(model, key)
    return {"id": model, "object": "model", "created": 0, "owned_by": "appkit"}


@router.post("/chat/completions", response_model=None, responses=STREAMED)
async def chat_completions(
    chat: ChatRequest, request: Request, gateway: RunningGateway, key: Caller
) -> Response | dict[str, Any]:
    """Answer a chat. A single user message is taken as the task's input, behind the bundle's own instruction."""
    chat.check()
    target = _require_words(gateway.find(chat.model, key))
    with target.used():
        tokens = await prompt_tokens(target, [(message.role, message.text) for message in chat.messages])
        job = _make_job(gateway, target, chat, tokens, bool(chat.logprobs), chat.max_completion_tokens)
        form = _ChatForm(target, bool(chat.logprobs))
        return await _respond(gateway, request, target, chat, _copy_job(job, chat.n), form)


@router.post("/completions", response_model=None, responses=STREAMED)
async def completions(
    completion: CompletionRequest, request: Request, gateway: RunningGateway, key: Caller
) -> Response | dict[str, Any]:
    """Continue texts or token ids as they are: no template, no instruction."""
    completion.check()
    target = _require_words(gateway.find(completion.model, key))
    with target.used():
        prompts = await _read_prompts(target, completion.prompt)
        log_probabilities = completion.logprobs is not None
        jobs = [
            job
            for ids in prompts
            for job in _copy_job(_make_job(gateway, target, completion, ids, log_probabilities), completion.n)
        ]
        return await _respond(
            gateway, request, target, completion, jobs, _TextForm(target, log_probabilities)
        )


def _require_words(target: Target) -> Target:
    """Raises Fault for a bundle that does not answer in words."""
    if target.deployment is not None and not target.deployment.head.cap:
        raise Fault(
            400, f"{target.ref} answers with labels, not words; ask POST /v1/tasks/{target.deployment.name}"
        )
    return target


async def prompt_tokens(target: Target, turns: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """Puts messages through the base's template, as in training. Raises Fault for ones that it cannot render."""
    from jinja2.exceptions import TemplateError

    from appkit.bundles.specialist import input_row
    from appkit.task import Message

    deployment = target.deployment
    if deployment and len(turns) == 1 and turns[0][0] == "user":
        row = input_row(deployment.task, turns[0][1])
        messages = list(deployment.task.prompt(row, deployment.config.task))
    else:
        role = {"developer": "system"}
        messages = [Message.of(role.get(who, who), text) for who, text in turns]  # type: ignore[arg-type]
    try:
        return tuple(await _call_apart(sum(len(text) for _, text in turns), target.chat.prompt, messages))
    except TemplateError as error:
        raise Fault(400, f"the base's chat template refuses the messages: {error}") from None


async def _read_prompts(target: Target, prompt_input: str | list[Any]) -> list[tuple[int, ...]]:
    if isinstance(prompt_input, str):
        prompt_input = [prompt_input]
    if not prompt_input:
        raise Fault(400, "prompt is empty; a model needs at least one token to continue")
    lists = [prompt_input] if isinstance(prompt_input[0], int) else prompt_input
    vocabulary, token_lists = len(target.chat.tokenizer), []
    for prompt in lists:
        ids = await _call_apart(len(prompt), target.chat.ids, prompt) if isinstance(prompt, str) else prompt
        if not ids:
            raise Fault(400, "prompt is empty; a model needs at least one token to continue")
        if (odd := next((token for token in ids if not 0 <= token < vocabulary), None)) is not None:
            raise Fault(400, f"a token id must be in 0..{vocabulary - 1}, got {odd}")
        token_lists.append(tuple(ids))
    return token_lists


async def _call_apart(characters: int, function: Any, *arguments: Any) -> Any:
    """Calls a function, in a thread for long texts: other requests would wait."""
    if characters < 5000:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _make_job(
    gateway: Gateway,
    target: Target,
    parameters: _Parameters,
    tokens: tuple[int, ...],
    log_probabilities: bool,
    requested: int | None = None,
) -> Job:
    deployment = target.deployment
    decoding = deployment.manifest["decoding"] if deployment else {}
    default = deployment.head.cap if deployment else BASE_TOKENS
    temperature = (
        parameters.temperature if parameters.temperature is not None else decoding.get("temperature", 0.0)
    )
    return Job(
        target.adapter,
        tokens,
        room_for(gateway, target, tokens, requested or parameters.max_tokens, default),
        target.chat.stops(decoding.get("stop", ())),
        temperature,
        parameters.top_p if parameters.top_p is not None else decoding.get("top_p", 1.0),
        decoding.get("top_k", 0),
        parameters.seed,
        None,
        log_probabilities,
    )


def _copy_job(job: Job, n: int | None) -> list[Job]:
    """Copies a job n times, each with its own seed: one seed would give the same answer n times."""
    return [job if job.seed is None else replace(job, seed=job.seed + number) for number in range(n or 1)]


async def _respond(
    gateway: Gateway, request: Request, target: Target, parameters: _Parameters, jobs: list[Job], form: _Form
) -> Response | dict[str, Any]:
    check_batch(gateway, len(jobs), "answers")
    # prompt by prompt, n choices each: every prompt is counted once
    read = sum(len(job.tokens) for job in jobs[:: parameters.n or 1])
    if parameters.stream:
        usage = bool(parameters.stream_options and parameters.stream_options.include_usage)
        events = _stream_events(gateway, request, target, parameters.stops, jobs, form, read, usage)
        return await until_gone(request, EventStream.begin(events, gateway.settings.timeout_s))

    async def work() -> list[Answer]:
        with in_use(gateway, request, target, len(jobs)):
            tasks = [answer(target.engine, job, target.chat, parameters.stops) for job in jobs]
            return await within_time(gateway, gathered(tasks))

    answers = await until_gone(request, work())
    written = sum(reply.count for reply in answers)
    gateway.metrics.count(target.ref, prompt=read, answer=written)
    for job, reply in zip(jobs, answers, strict=True):
        log_texts(gateway, target, job.tokens, reply.text)
    choices = [form.choice(number, reply) for number, reply in enumerate(answers)]
    return form.envelope(choices) | {"usage": _count_usage(read, written)}


async def _stream_events(
    gateway: Gateway,
    request: Request,
    target: Target,
    stops: list[str],
    jobs: list[Job],
    form: _Form,
    read: int,
    usage: bool,
) -> AsyncGenerator[dict[str, Any]]:
    written, began, silent = 0, time.monotonic(), True
    texts = [""] * len(jobs)
    with ExitStack() as stack:
        stack.enter_context(in_use(gateway, request, target, len(jobs)))
        sources = [deltas(target.engine, job, target.chat, stops) for job in jobs]
        async with aclosing(merged(sources)) as parts:
            async for number, delta in parts:
                written += delta.count
                if silent:
                    silent = False
                    gateway.metrics.first.labels(target.ref).observe(time.monotonic() - began)
                texts[number] += delta.text
                yield form.chunk(number, delta)
        for job, text in zip(jobs, texts, strict=True):
            log_texts(gateway, target, job.tokens, text)
        gateway.metrics.count(target.ref, prompt=read, answer=written)
    if usage:
        yield form.empty() | {"usage": _count_usage(read, written)}


def _count_usage(prompt: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class _Form:
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

    def texts(self, tokens: Sequence[int]) -> list[str]:
        return [self.target.chat.decode([token]) for token in tokens]


class _ChatForm(_Form):
    prefix, object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, number: int, answer: Answer) -> dict[str, Any]:
        return {
            "index": number,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "finish_reason": answer.finish,
            "logprobs": self._likely(answer.tokens, answer.log_probabilities),
        }

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
        content = [
            {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
            for text, value in zip(self.texts(tokens), values, strict=False)  # the end's has no token
        ]
        return {"content": content, "refusal": None}


class _TextForm(_Form):
    prefix, object, chunk_object = "cmpl", "text_completion", "text_completion"

    def choice(self, number: int, answer: Answer) -> dict[str, Any]:
        return self._choice(number, answer.text, answer.finish, answer.tokens, answer.log_probabilities)

    def part(self, number: int, delta: Delta) -> dict[str, Any]:
        return self._choice(number, delta.text, delta.finish, delta.tokens, delta.log_probabilities)

    def _choice(
        self, number: int, text: str, finish: str | None, tokens: Sequence[int], values: Sequence[float]
    ) -> dict[str, Any]:
        likely = None
        if self.log_probabilities:
            likely = {
                "tokens": self.texts(tokens),
                "token_logprobs": list(values[: len(tokens)]),
                "top_logprobs": None,
                "text_offset": [],
            }
        return {"index": number, "text": text, "finish_reason": finish, "logprobs": likely}
