"""Typed routes: a row of the pack's own schema in, the answer parsed and checked out; and the pack's tools."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from appkit.errors import AppkitError, DataError
from appkit.heads.head import Head, Question, Reply, Wishes
from appkit.rag.index import Hit
from appkit.rag.rows import AtHand, Citation
from appkit.serving.deployment import Deployment
from appkit.serving.engines.protocol import EngineGone
from appkit.serving.gateway.evidence import evidence_of
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target, Unknown
from appkit.serving.gateway.request import (
    STREAMED,
    Caller,
    EventStream,
    One,
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
from appkit.stats import confidence
from appkit.task import Task

__all__ = ["router"]

log = logging.getLogger(__name__)
T = TypeVar("T")
router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


class TaskRequest(BaseModel):
    """Rows to answer."""

    model_config = ConfigDict(extra="forbid")

    rows: list[str | dict[str, Any]] = Field(
        min_length=1,
        description="each an object with the pack's input fields, or a bare text for its main one",
    )
    constrain: bool = Field(
        False, description="keep to the pack's grammar: it parses, or says that it was cut off"
    )
    confidence: bool = Field(
        False, description="tell how likely each answer is right, calibrated on the test rows"
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="abstain below this confidence: the answer is not given as parsed"
    )
    base: bool = Field(
        False, description="answer with the base alone, from the same prompt, to be put beside the adapter's"
    )
    rag: bool = Field(
        True,
        description="where the gateway has documents and the pack a rule for them: answer rows that bring no passages "
        "of their own from those that are found",
    )
    stream: bool = Field(
        False, description="server-sent events: {row, delta}, and {row, result} once it is complete"
    )


class Result(BaseModel):
    """One answer. text: what the model wrote. parsed: the pack's reading of it, None with the reason in `error`.

    citations: the passages that were found for the row, as numbered in the prompt; None where none were looked for.
    """

    text: str
    parsed: Any
    error: str | None
    truncated: bool
    tokens: int
    confidence: float | None = None
    abstained: bool = False
    citations: list[Citation] | None = None


class TaskResponse(BaseModel):
    """The answers, in the order of the rows. model: the version that gave them."""

    model: str
    results: list[Result]


@router.get("")
async def tasks(one: One, key: Caller) -> dict[str, Any]:
    """The aliases that this key may use, each with its task."""
    found = []
    for alias in one.registry.aliases:
        try:
            target = one.find(alias, key, draw=lambda: 1.0)
        except (Unknown, EngineGone):  # not for this key, or its bundle is still being loaded
            continue
        if target.deployment is not None:
            task = target.deployment.task
            found.append({"alias": alias, "task": task.name, "summary": task.summary})
    return {"tasks": found}


@router.get("/{alias}")
async def describe(alias: str, one: One, key: Caller) -> dict[str, Any]:
    """All that a page or a client has to know of a task: fields, examples, options, tools, and how good it is."""
    target = one.find(alias, key)
    deployment = _deployment(target, alias)
    task, calibration = deployment.task, confidence.of_manifest(deployment.manifest)
    fields = task.row.model_json_schema()
    fields["properties"].pop(task.output, None)
    fields["required"] = [name for name in fields.get("required", []) if name != task.output]
    return {
        "model": target.ref,
        "task": task.name,
        "summary": task.summary,
        "kind": task.head.name,
        "input": task.input,
        "output": task.output,
        "row": fields,
        "examples": list(task.examples),
        "labels": deployment.manifest.get("labels"),
        "constrain": bool(deployment.manifest.get("grammar")),
        "confidence": calibration.model_dump() if calibration else None,
        "tools": {name: _tool_schema(name, tool) for name, tool in task.tools.items()},
        "primary": task.primary,
        "metrics": deployment.manifest.get("metrics"),
        "certificate": deployment.certificate,
        "retrieval": _retrieval(one, task),
    }


def _retrieval(one: Gateway, task: Task) -> dict[str, Any] | None:
    """What is looked up for a row; None for a pack without a rule."""
    if task.retrieval is None:
        return None
    asked = one.rag and one.rag.config
    return {
        "field": task.retrieval.field,
        "documents": one.rag and {"version": one.rag.version, "passages": len(one.rag.index.passages)},
        "k": asked and asked.k,
        "by": asked and asked.by,
    }


@router.get("/{alias}/evidence")
async def evidence(alias: str, one: One, key: Caller) -> dict[str, Any]:
    """What shows how good a bundle is: its report, scores, certificate, and the run's pictures (PNG in base64).

    The label audit shows training rows, so that only admin keys get it.
    """
    target = one.find(alias, key)
    return await asyncio.to_thread(evidence_of, _deployment(target, alias), rows=key.admin)


@router.post("/{alias}", response_model=TaskResponse, responses=STREAMED)
async def answer_rows(
    alias: str,
    asked: TaskRequest,
    request: Request,
    one: One,
    key: Caller,
) -> Response | TaskResponse:
    """Answer one row or a batch; streamed, text as it comes, and each row as it is done."""
    version = one.find(alias, key)
    deployment = _deployment(version, alias)
    check_batch(one, len(asked.rows), "rows")
    wishes = Wishes(asked.constrain, asked.confidence, asked.threshold, asked.base)
    if refusal := deployment.head.refusal(wishes, deployment.ref):
        raise Fault(400, refusal)
    target = _base_of(one, version) if asked.base else version
    with target.used():
        rows, hits = await _with_passages(one, deployment, asked)
        questions = await asyncio.to_thread(_questions, one, target, deployment.head, rows, wishes)
        work = _Work(one, request, target, deployment, questions, hits, asked.threshold)
        if asked.stream:
            stream = EventStream.begin(work.events(), one.settings.timeout_s)
            return await until_gone(request, stream)
        return TaskResponse(model=target.ref, results=await until_gone(request, work.results()))


def _questions(
    one: Gateway, target: Target, head: Head, rows: Sequence[Any], wishes: Wishes
) -> list[Question]:
    """What the engine is asked for each row. Raises Fault for what it has no room for."""
    questions = []
    for row in rows:
        question = head.question(row, wishes)
        if question.cap:
            question = question.limited(room_for(one, target, question.tokens, None, question.cap))
        questions.append(question)
    context = target.engine.engine.max_length
    if (longest := max(question.longest for question in questions)) > context:
        raise Fault(400, f"a text has {longest} tokens, the engine reads {context}")
    requests, queue = sum(question.requests for question in questions), target.engine.queue
    if requests > queue:  # it would be told to try again for ever
        raise Fault(
            413,
            f"the rows take {requests} windows of {longest} tokens, the limit is {queue} (serve.max_queue); "
            "send them in parts",
        )
    return questions


@dataclass(frozen=True)
class _Work:
    """A request's questions on their way through the engine."""

    one: Gateway
    request: Request
    target: Target
    deployment: Deployment
    questions: Sequence[Question]
    hits: Sequence[Sequence[Hit] | None]
    """of each row, the passages that were found for it"""
    threshold: float | None

    @property
    def requests(self) -> int:
        return sum(question.requests for question in self.questions)

    async def results(self) -> list[Result]:
        """All at once; the first failure cancels the rest."""
        with in_use(self.one, self.request, self.target, self.requests):
            return await within_time(
                self.one, gathered([self._ask(row) for row in range(len(self.questions))])
            )

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Text as it comes, and each row's result once it is complete."""
        head, adapter = self.deployment.head, self.target.adapter
        with in_use(self.one, self.request, self.target, self.requests):
            sources = [head.stream(self.target.engine, adapter, question) for question in self.questions]
            async with aclosing(merged(sources)) as parts:
                async for row, part in parts:
                    if isinstance(part, str):
                        yield {"row": row, "delta": part}
                    else:
                        result = self._result(row, part)
                        yield {"row": row, "result": result.model_dump(), "model": self.target.ref}

    async def _ask(self, row: int) -> Result:
        head = self.deployment.head
        return self._result(row, await head.ask(self.target.engine, self.target.adapter, self.questions[row]))

    def _result(self, row: int, reply: Reply) -> Result:
        prediction, question, hits = reply.prediction, self.questions[row], self.hits[row]
        self.one.metrics.count(self.target.ref, prompt=len(question.tokens), answer=reply.written)
        log_texts(self.one, self.target, question.tokens, prediction.text)
        sure, value = prediction.confidence, prediction.parsed.value
        abstained = self.threshold is not None and sure is not None and sure < self.threshold
        return Result(
            text=prediction.text,
            parsed=None if abstained else value,
            error=prediction.parsed.error,
            truncated=prediction.truncated,
            tokens=prediction.tokens,
            confidence=sure,
            abstained=abstained,
            citations=None if hits is None else AtHand.citations(self.deployment.task, value, hits),
        )


def _deployment(target: Target, alias: str) -> Deployment:
    if target.deployment is None:
        raise Fault(404, f"{alias!r} is a base, which has no task; ask an alias of GET /v1/tasks")
    return target.deployment


def _base_of(one: Gateway, target: Target) -> Target:
    """The base that the version's engine answers with when it uses no adapter."""
    return next(base for base in one.registry.bases.values() if base.engine is target.engine)


async def _with_passages(
    one: Gateway, deployment: Deployment, asked: TaskRequest
) -> tuple[list[Any], Sequence[Sequence[Hit] | None]]:
    """The rows with the passages that were found for them, and these; None where none were looked for.

    Raises DataError for a row that does not fit the pack's schema, and Fault 503 when the documents cannot be searched:
    nothing is answered then.
    """
    rows = await asyncio.to_thread(_rows, deployment.task, asked)
    if one.rag is None or not asked.rag or deployment.task.retrieval is None:
        return rows, [None] * len(rows)
    try:
        found = await computed(one, one.rag.put, deployment.task, rows)
    except DataError:
        raise
    except AppkitError as error:  # it may name a server that is nobody's business
        log.warning("the documents cannot be searched: %s", error)
        raise Fault(
            503, "the documents cannot be searched now; ask who runs this gateway", retry_after=10
        ) from None
    return [row for row, _ in found], [hits for _, hits in found]


def _rows(task: Task, asked: TaskRequest) -> list[Any]:
    from appkit.bundles.specialist import input_row

    rows: list[Any] = []
    for place, given in enumerate(asked.rows):
        try:
            rows.append(input_row(task, given))
        except DataError as error:
            raise DataError(f"rows[{place}]: {error}") from None
    return rows


async def computed(one: Gateway, function: Callable[..., T], *values: Any, **named: Any) -> T:
    """What a function gives that computes in a thread: few at once, and within the time of a request."""

    async def working() -> T:
        async with one.tools:
            return await asyncio.to_thread(function, *values, **named)

    work = asyncio.create_task(working())
    try:
        # a thread cannot be stopped: it keeps its place among those that compute, whoever still waits for it
        return await within_time(one, asyncio.shield(work))
    finally:
        work.add_done_callback(lambda done: done.cancelled() or done.exception())


@router.post("/{alias}/tools/{name}")
async def use_tool(
    alias: str,
    name: str,
    arguments: dict[str, Any],
    request: Request,
    one: One,
    key: Caller,
) -> Any:
    """A function of the pack, such as a prover: its arguments as an object. GET /v1/tasks/{alias} has its schema."""
    target = one.find(alias, key)
    tool = _deployment(target, alias).task.tools.get(name)
    if tool is None:
        known = ", ".join(_deployment(target, alias).task.tools) or "none"
        raise Fault(404, f"no tool {name[:80]!r}; the task has: {known}")
    request.state.bundle = target.ref
    try:
        given = _tool_model(tool).model_validate(arguments)
    except ValidationError as error:
        raise Fault(422, _first(error)) from None
    values = {field: getattr(given, field) for field in type(given).model_fields}

    try:
        return await computed(one, tool, **values)
    except ValueError as error:
        raise Fault(422, str(error)) from None


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    shown = repr(fault["input"])
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {shown[:80]}{'…' if len(shown) > 80 else ''}"


@lru_cache(maxsize=256)
def _tool_model(tool: Callable[..., Any]) -> type[BaseModel]:
    """A model of a function's parameters."""
    hints = get_type_hints(tool, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(tool).parameters.items()
    }
    return create_model(tool.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _tool_schema(name: str, tool: Callable[..., Any]) -> dict[str, Any]:
    return {"description": inspect.getdoc(tool) or name, "arguments": _tool_model(tool).model_json_schema()}
