"""Answers typed routes: rows of the pack's own schema in, parsed and checked answers out; and the pack's tools."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from appkit.bundles.manifest import list_licences
from appkit.errors import AppkitError, DataError
from appkit.heads.head import Head, Question, Reply, Wishes
from appkit.rag.index import Hit
from appkit.rag.rows import AtHand, Citation
from appkit.serving.deployment import Deployment
from appkit.serving.engines.protocol import EngineGone
from appkit.serving.gateway.body import CheckedRoute
from appkit.serving.gateway.evidence import describe_measures, evidence_of
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target, Unknown
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
from appkit.stats import confidence
from appkit.task import Task

__all__ = ["router"]

log = logging.getLogger(__name__)
T = TypeVar("T")
router = APIRouter(prefix="/v1/tasks", tags=["tasks"], route_class=CheckedRoute)


class TaskRequest(BaseModel):
    """Asks for answers to rows."""

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
    """Holds one answer."""

    text: str
    """what the model wrote"""
    parsed: Any
    """the pack's reading of the text; None where it cannot be read, or the answer abstained"""
    error: str | None
    """why the text cannot be read"""
    truncated: bool
    """the answer was cut at its most tokens"""
    tokens: int
    """tokens that the model wrote, or read for labels"""
    confidence: float | None = None
    """0 to 1, how likely the answer is right; None unless asked for"""
    abstained: bool = False
    """the confidence is below the threshold"""
    citations: list[Citation] | None = None
    """passages found for the row, as numbered in the prompt; None where none were searched"""


class TaskResponse(BaseModel):
    """Holds the answers of a request."""

    model: str
    """the version that answered, as `name@sha`"""
    results: list[Result]
    """in the order of the rows"""


@router.get("")
async def tasks(gateway: RunningGateway, key: Caller) -> dict[str, Any]:
    """List the aliases that this key may use, each with its task."""
    entries = []
    for alias in gateway.registry.aliases:
        try:
            target = gateway.find(alias, key, draw=lambda: 1.0)
        except (Unknown, EngineGone):  # not for this key, or its bundle is still being loaded
            continue
        if target.deployment is not None:
            task = target.deployment.task
            entries.append({"alias": alias, "task": task.name, "summary": task.summary})
    return {"tasks": entries}


@router.get("/{alias}")
async def describe(alias: str, gateway: RunningGateway, key: Caller) -> dict[str, Any]:
    """Describe a task for pages and clients: fields, examples, options, tools, metrics and certificate."""
    target = gateway.find(alias, key)
    deployment = _require_deployment(target, alias)
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
        "constrain": deployment.head.constrains,
        "options": _describe_options(deployment.head.options),
        "confidence": calibration.model_dump() if calibration else None,
        "tools": {name: _tool_schema(name, tool) for name, tool in task.tools.items()},
        "primary": task.primary,
        "measures": describe_measures(task),
        "metrics": deployment.manifest.get("metrics"),
        "verdict": deployment.manifest.get("verdict"),
        "certificate": deployment.certificate,
        "base": {"name": deployment.base_name},
        "licences": list_licences(deployment.manifest),
        "size": deployment.sizes,
        "retrieval": _describe_retrieval(gateway, task),
    }


def _describe_options(options: Any) -> dict[str, Any]:
    """Describes the pack's options of a bundle without free text, which may be a path of the machine that trained."""
    fields = type(options).model_fields
    values = options.model_dump(mode="json")
    return {
        name: values[name]
        for name, field in fields.items()
        if _is_choice(field.annotation) or isinstance(values[name], (bool, int, float))
    }


def _is_choice(annotation: Any) -> bool:
    """Tells whether a field's values are among named ones; None may be one of them."""
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_choice(kind) for kind in get_args(annotation) if kind is not type(None))
    return get_origin(annotation) is Literal


def _describe_retrieval(gateway: Gateway, task: Task) -> dict[str, Any] | None:
    """Describes what is searched for a row; None for a pack without a rule."""
    if task.retrieval is None:
        return None
    rag_config = gateway.rag and gateway.rag.config
    return {
        "field": task.retrieval.field,
        "documents": gateway.rag
        and {"version": gateway.rag.version, "passages": len(gateway.rag.index.passages)},
        "k": rag_config and rag_config.k,
        "by": rag_config and rag_config.by,
    }


@router.get("/{alias}/evidence")
async def evidence(alias: str, gateway: RunningGateway, key: Caller) -> dict[str, Any]:
    """Show a bundle's report, scores and certificate, and its run's pictures (PNG in base64).

    The label audit shows training rows, so only admin keys get it.
    """
    target = gateway.find(alias, key)
    return await asyncio.to_thread(evidence_of, _require_deployment(target, alias), rows=key.admin)


@router.post("/{alias}", response_model=TaskResponse, responses=STREAMED)
async def answer_rows(
    alias: str,
    task_request: TaskRequest,
    request: Request,
    gateway: RunningGateway,
    key: Caller,
) -> Response | TaskResponse:
    """Answer one row or a batch; a stream sends text as it comes, and each row once it is done."""
    version = gateway.find(alias, key)
    deployment = _require_deployment(version, alias)
    check_batch(gateway, len(task_request.rows), "rows")
    wishes = Wishes(
        task_request.constrain, task_request.confidence, task_request.threshold, task_request.base
    )
    if refusal := deployment.head.refusal(wishes, deployment.ref):
        raise Fault(400, refusal)
    target = _find_base(gateway, version) if task_request.base else version
    with target.used():
        rows, hits = await _find_passages(gateway, deployment, task_request)
        questions = await asyncio.to_thread(_make_questions, gateway, target, deployment.head, rows, wishes)
        work = _Work(gateway, request, target, deployment, questions, hits, task_request.threshold)
        if task_request.stream:
            stream = EventStream.begin(work.events(), gateway.settings.timeout_s)
            return await until_gone(request, stream)
        return TaskResponse(model=target.ref, results=await until_gone(request, work.results()))


def _make_questions(
    gateway: Gateway, target: Target, head: Head, rows: Sequence[Any], wishes: Wishes
) -> list[Question]:
    """Makes the engine's question for each row. Raises Fault for what the engine has no room for."""
    questions = []
    for row in rows:
        question = head.question(row, wishes)
        if question.cap:
            question = question.limited(room_for(gateway, target, question.tokens, None, question.cap))
        questions.append(question)
    context = target.context
    if (longest := max(question.longest for question in questions)) > context:
        raise Fault(400, f"a text has {longest} tokens, the engine reads {context}")
    if longest > (most := gateway.settings.max_context):
        raise Fault(413, f"a text has {longest} tokens, {most} are read at once here (serve.max_context)")
    requests, queue = sum(question.requests for question in questions), target.engine.queue
    if requests > queue:  # a later try would not fit either
        raise Fault(
            413,
            f"the rows take {requests} windows of {longest} tokens, the limit is {queue} (serve.max_queue); "
            "send them in parts",
        )
    check_work(gateway, sum(len(question.tokens) + question.cap for question in questions))
    return questions


@dataclass(frozen=True)
class _Work:
    """Answers a request's questions through the engine."""

    gateway: Gateway
    request: Request
    target: Target
    deployment: Deployment
    questions: Sequence[Question]
    hits: Sequence[Sequence[Hit] | None]
    """of each row, the passages found for it; None where none were searched"""
    threshold: float | None

    @property
    def requests(self) -> int:
        return sum(question.requests for question in self.questions)

    async def results(self) -> list[Result]:
        """Answers all rows at once; the first failure cancels the rest."""
        with in_use(self.gateway, self.request, self.target, self.requests):
            return await within_time(
                self.gateway, gathered([self._ask(row) for row in range(len(self.questions))])
            )

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Yields text as it comes, and each row's result once it is complete."""
        head, adapter = self.deployment.head, self.target.adapter
        with in_use(self.gateway, self.request, self.target, self.requests):
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
        self.gateway.metrics.count(self.target.ref, prompt=len(question.tokens), answer=reply.written)
        log_texts(self.gateway, self.target, question.tokens, prediction.text)
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


def _require_deployment(target: Target, alias: str) -> Deployment:
    if target.deployment is None:
        raise Fault(404, f"{alias!r} is a base, which has no task; ask an alias of GET /v1/tasks")
    return target.deployment


def _find_base(gateway: Gateway, target: Target) -> Target:
    """Finds the base that the version's engine answers with when it uses no adapter."""
    return next(base for base in gateway.registry.bases.values() if base.engine is target.engine)


async def _find_passages(
    gateway: Gateway, deployment: Deployment, task_request: TaskRequest
) -> tuple[list[Any], Sequence[Sequence[Hit] | None]]:
    """Finds passages for the rows; returns rows with passages, and the passages, None where none were searched.

    Raises DataError for a row that does not fit the pack's schema, and Fault 503 when the documents cannot be searched:
    nothing is answered then.
    """
    rows = await asyncio.to_thread(_read_rows, deployment.task, task_request)
    if gateway.rag is None or not task_request.rag or deployment.task.retrieval is None:
        return rows, [None] * len(rows)
    try:
        retrieved = await computed(gateway, gateway.rag.put, deployment.task, rows)
    except DataError:
        raise
    except AppkitError as error:  # it may name a server that callers should not know
        log.warning("the documents cannot be searched: %s", error)
        raise Fault(
            503, "the documents cannot be searched now; ask who runs this gateway", retry_after=10
        ) from None
    return [row for row, _ in retrieved], [hits for _, hits in retrieved]


def _read_rows(task: Task, task_request: TaskRequest) -> list[Any]:
    from appkit.bundles.specialist import input_row

    rows: list[Any] = []
    for place, row in enumerate(task_request.rows):
        try:
            rows.append(input_row(task, row))
        except DataError as error:
            raise DataError(f"rows[{place}]: {error}") from None
    return rows


async def computed(gateway: Gateway, function: Callable[..., T], *values: Any, **named: Any) -> T:
    """Calls a function in a thread: few at once, and within the time of a request."""

    async def run() -> T:
        async with gateway.tools:
            return await asyncio.to_thread(function, *values, **named)

    work = asyncio.create_task(run())
    try:
        # a thread cannot be stopped: it keeps its place among those that compute, whoever still waits for it
        return await within_time(gateway, asyncio.shield(work))
    finally:
        work.add_done_callback(lambda done: done.cancelled() or done.exception())


@router.post("/{alias}/tools/{name}")
async def use_tool(
    alias: str,
    name: str,
    arguments: dict[str, Any],
    request: Request,
    gateway: RunningGateway,
    key: Caller,
) -> Any:
    """Call a function of the pack, such as a prover, with an object of arguments; GET /v1/tasks/{alias} shows them."""
    target = gateway.find(alias, key)
    tool = _require_deployment(target, alias).task.tools.get(name)
    if tool is None:
        known = ", ".join(_require_deployment(target, alias).task.tools) or "none"
        raise Fault(404, f"no tool {name[:80]!r}; the task has: {known}")
    request.state.bundle = target.ref
    try:
        parameters = _tool_model(tool).model_validate(arguments)
    except ValidationError as error:
        raise Fault(422, _describe_fault(error)) from None
    values = {field: getattr(parameters, field) for field in type(parameters).model_fields}

    try:
        return await computed(gateway, tool, **values)
    except ValueError as error:
        raise Fault(422, str(error)) from None


def _describe_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    shown = repr(fault["input"])
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {shown[:80]}{'…' if len(shown) > 80 else ''}"


@lru_cache(maxsize=256)
def _tool_model(tool: Callable[..., Any]) -> type[BaseModel]:
    """Makes a pydantic model of a function's parameters."""
    hints = get_type_hints(tool, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(tool).parameters.items()
    }
    return create_model(tool.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _tool_schema(name: str, tool: Callable[..., Any]) -> dict[str, Any]:
    return {"description": inspect.getdoc(tool) or name, "arguments": _tool_model(tool).model_json_schema()}
