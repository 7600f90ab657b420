"""Answers OpenAI's routes, where `model` is an alias, `name@sha` or a base's name.

A parameter that would change the answer and is not supported is refused, never ignored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from appkit.heads.lm.detokenize import Answer, answer, deltas
from appkit.serving.engines.protocol import Job
from appkit.serving.gateway.body import CheckedRoute
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.openai_body import ChatRequest, CompletionRequest, Parameters
from appkit.serving.gateway.openai_forms import ChatForm, Form, TextForm, make_reader
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.request import (
    STREAMED,
    Caller,
    EventStream,
    RunningGateway,
    check_batch,
    check_work,
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

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=CheckedRoute)
BASE_TOKENS = 256
"""tokens of an answer by a base alone, unless the caller asks for more"""
LEAST_P = 1e-9
"""a smaller top_p means the same, the likeliest token alone, and is 0 in an engine's float32"""


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
    """Answer a chat. A single user message is taken as the task's input, behind the bundle's own instruction.

    The content is then the pack's reading, as `parsed` of POST /v1/tasks; with `raw`, and in a stream, it is what the
    model wrote.
    """
    chat.check()
    target = _require_words(gateway.find(chat.model, key))
    with target.used():
        check_batch(gateway, chat.n or 1, "answers")
        turns = [(message.role, message.text) for message in chat.messages]
        tokens = await prompt_tokens(target, turns)
        job = _make_job(gateway, target, chat, tokens, bool(chat.logprobs), chat.max_completion_tokens)
        read = None if chat.raw or not _is_task_input(target, turns) else make_reader(target, chat.stops)
        form = ChatForm(target, bool(chat.logprobs), read)
        return await _respond(gateway, request, target, chat, _copy_job(job, chat.n), form)


@router.post("/completions", response_model=None, responses=STREAMED)
async def completions(
    completion: CompletionRequest, request: Request, gateway: RunningGateway, key: Caller
) -> Response | dict[str, Any]:
    """Continue texts or token ids as they are: no template, no instruction."""
    completion.check()
    target = _require_words(gateway.find(completion.model, key))
    with target.used():
        prompts = await _read_prompts(gateway, target, completion)
        log_probabilities = completion.logprobs is not None
        jobs = [
            job
            for ids in prompts
            for job in _copy_job(_make_job(gateway, target, completion, ids, log_probabilities), completion.n)
        ]
        return await _respond(gateway, request, target, completion, jobs, TextForm(target, log_probabilities))


def _require_words(target: Target) -> Target:
    """Raises Fault for a bundle that does not answer in words."""
    if target.deployment is not None and not target.deployment.head.cap:
        raise Fault(
            400, f"{target.ref} answers with labels, not words; ask POST /v1/tasks/{target.deployment.name}"
        )
    return target


def _is_task_input(target: Target, turns: Sequence[tuple[str, str]]) -> bool:
    return target.deployment is not None and len(turns) == 1 and turns[0][0] == "user"


async def prompt_tokens(target: Target, turns: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """Puts messages through the base's template, as in training. Raises Fault for ones that it cannot render."""
    from jinja2.exceptions import TemplateError

    from appkit.bundles.specialist import input_row
    from appkit.task import Message

    deployment = target.deployment
    if deployment and _is_task_input(target, turns):
        row = input_row(deployment.task, turns[0][1])
        messages = list(deployment.task.prompt(row, deployment.config.task))
    else:
        role = {"developer": "system"}
        messages = [Message.of(role.get(who, who), text) for who, text in turns]  # type: ignore[arg-type]
    try:
        return tuple(await _call_apart(sum(len(text) for _, text in turns), target.chat.prompt, messages))
    except TemplateError as error:
        raise Fault(400, f"the base's chat template refuses the messages: {error}") from None


async def _read_prompts(
    gateway: Gateway, target: Target, completion: CompletionRequest
) -> list[tuple[int, ...]]:
    """Tokenizes the prompts, once they are counted. Raises Fault for too many, an empty one, or an odd token id."""
    prompt_input = [completion.prompt] if isinstance(completion.prompt, str) else completion.prompt
    if not prompt_input:
        raise Fault(400, "prompt is empty; a model needs at least one token to continue")
    lists = [prompt_input] if isinstance(prompt_input[0], int) else prompt_input
    check_batch(gateway, len(lists) * (completion.n or 1), "answers")
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
    parameters: Parameters,
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
        max(LEAST_P, parameters.top_p if parameters.top_p is not None else decoding.get("top_p", 1.0)),
        decoding.get("top_k", 0) if parameters.top_k is None else 0,
        parameters.seed,
        None,
        log_probabilities,
    )


def _copy_job(job: Job, n: int | None) -> list[Job]:
    """Copies a job n times, each with its own seed: one seed would give the same answer n times."""
    return [job if job.seed is None else replace(job, seed=job.seed + number) for number in range(n or 1)]


async def _respond(
    gateway: Gateway, request: Request, target: Target, parameters: Parameters, jobs: list[Job], form: Form
) -> Response | dict[str, Any]:
    check_work(gateway, sum(len(job.tokens) + job.max_tokens for job in jobs))
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
    form: Form,
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
