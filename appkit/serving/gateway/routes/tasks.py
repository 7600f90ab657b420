"""Typed routes: a row of the pack's own schema in, the answer parsed and checked out; and the pack's tools."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import ExitStack, aclosing
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from appkit.errors import AppkitError, DataError
from appkit.heads.label import Labelling
from appkit.rag.index import Hit
from appkit.rag.rows import AtHand, Citation
from appkit.serving.engines.label_logits import logits
from appkit.serving.engines.protocol import EngineGone, Job
from appkit.serving.gateway.admission import Opened
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
from appkit.serving.gateway.text import Answer, Delta, answer, deltas
from appkit.stats import confidence
from appkit.task import Prediction, Task

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
        if target.opened is not None:
            task = target.opened.task
            found.append({"alias": alias, "task": task.name, "summary": task.summary})
    return {"tasks": found}


@router.get("/{alias}")
async def describe(alias: str, one: One, key: Caller) -> dict[str, Any]:
    """All that a page or a client has to know of a task: fields, examples, options, tools, and how good it is."""
    target = one.find(alias, key)
    opened = _opened(target, alias)
    task, calibration = opened.task, confidence.of_manifest(opened.manifest)
    fields = task.row.model_json_schema()
    fields["properties"].pop(task.output, None)
    fields["required"] = [name for name in fields.get("required", []) if name != task.output]
    return {
        "model": target.ref,
        "task": task.name,
        "summary": task.summary,
        "kind": task.kind,
        "input": task.input,
        "output": task.output,
        "row": fields,
        "examples": list(task.examples),
        "labels": opened.manifest.get("labels"),
        "constrain": bool(opened.manifest.get("grammar")),
        "confidence": calibration.model_dump() if calibration else None,
        "tools": {name: _tool_schema(name, tool) for name, tool in task.tools.items()},
        "primary": task.primary,
        "metrics": opened.manifest.get("metrics"),
        "certificate": opened.certificate,
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
    return await asyncio.to_thread(evidence_of, _opened(target, alias), rows=key.admin)


@router.post("/{alias}", response_model=TaskResponse, responses=STREAMED)
async def answer_rows(
    alias: str,
    asked: TaskRequest,
    request: Request,
    one: One,
    key: Caller,
) -> Response | TaskResponse:
    """Answer one row or a batch."""
    target = one.find(alias, key)
    opened = _opened(target, alias)
    check_batch(one, len(asked.rows), "rows")
    if opened.labelling is not None:
        with target.used():
            return await label_rows(asked, request, one, target, opened.labelling)
    reader = Reader(opened, asked)
    if asked.base:
        target = _base_of(one, target)
    with target.used():
        rows, hits = await _prepared(one, opened, asked)
        jobs = await asyncio.to_thread(_jobs, one, target, opened, asked, rows)
        if asked.stream:
            events = _events(one, request, target, jobs, reader, hits)
            return await until_gone(request, EventStream.begin(events, one.settings.timeout_s))

        async def work() -> list[Answer]:
            with in_use(one, request, target, len(jobs)):
                return await within_time(
                    one, gathered([answer(target.engine, job, opened.chat) for job in jobs])
                )

        answers = await until_gone(request, work())
    for job, found in zip(jobs, answers, strict=True):
        one.metrics.count(target.ref, prompt=len(job.tokens), answer=found.count)
        log_texts(one, target, job.tokens, found.text)
    results = [
        reader.result(a.tokens, a.log_probabilities, a.finish, found)
        for a, found in zip(answers, hits, strict=True)
    ]
    return TaskResponse(model=target.ref, results=results)


async def label_rows(
    asked: TaskRequest, request: Request, one: Gateway, target: Target, kind: Labelling
) -> Response | TaskResponse:
    """Labels or entities of one row or a batch; streamed, each row as it is done. The version is in use meanwhile."""
    if asked.base:
        raise Fault(
            400, f"task {kind.task.name!r} is answered by a head, which the base lacks; ask without base"
        )
    if asked.constrain:
        raise Fault(400, f"task {kind.task.name!r} answers with its labels only; ask without constrain")
    if asked.threshold is not None and (kind.spec.kind != "sequence" or kind.spec.problem != "single"):
        raise Fault(
            400, f"task {kind.task.name!r} has no one label a row to abstain from; ask without threshold"
        )
    opened = _opened(target, target.ref)
    rows, hits = await _prepared(one, opened, asked)
    read = await asyncio.to_thread(lambda: [kind.windows(row) for row in rows])
    longest = max(len(window.tokens) for one_read in read for window in one_read.windows)
    if longest > target.engine.engine.max_length:
        raise Fault(400, f"a text has {longest} tokens, the engine reads {target.engine.engine.max_length}")
    requests = sum(len(one_read.windows) for one_read in read)
    if requests > target.engine.queue:  # it would be told to try again for ever
        raise Fault(
            413,
            f"the rows take {requests} windows of {kind.spec.max_length} tokens, the limit is {target.engine.queue} "
            "(serve.max_queue); send them in parts",
        )

    async def answered(place: int) -> Result:
        found = await logits(target.engine, target.adapter, kind.spec, opened.head, read[place].windows)
        made = await asyncio.to_thread(kind.prediction, rows[place], read[place], found)
        one.metrics.count(target.ref, prompt=made.tokens, answer=0)
        log_texts(
            one, target, [token for window in read[place].windows for token in window.tokens], made.text
        )
        sure = made.confidence
        abstained = asked.threshold is not None and sure is not None and sure < asked.threshold
        parsed = None if abstained else made.parsed.value
        return Result(
            text=made.text,
            parsed=parsed,
            error=made.parsed.error,
            truncated=made.truncated,
            tokens=made.tokens,
            confidence=sure,
            abstained=abstained,
            citations=_citations(opened, made, hits[place]),
        )

    async def events() -> AsyncGenerator[dict[str, Any]]:
        with in_use(one, request, target, requests):
            async for place, result in merged([_single(answered(place)) for place in range(len(rows))]):
                yield {"row": place, "result": result.model_dump(), "model": target.ref}

    async def work() -> list[Result]:
        with in_use(one, request, target, requests):
            return await within_time(one, gathered([answered(place) for place in range(len(rows))]))

    if asked.stream:
        return await until_gone(request, EventStream.begin(events(), one.settings.timeout_s))
    return TaskResponse(model=target.ref, results=await until_gone(request, work()))


async def _single(work: Coroutine[Any, Any, Result]) -> AsyncGenerator[Result]:
    yield await work


def _opened(target: Target, alias: str) -> Opened:
    if target.opened is None:
        raise Fault(404, f"{alias!r} is a base, which has no task; ask an alias of GET /v1/tasks")
    return target.opened


def _base_of(one: Gateway, target: Target) -> Target:
    """The base that the version's engine answers with when it uses no adapter."""
    return next(base for base in one.registry.bases.values() if base.engine is target.engine)


async def _prepared(
    one: Gateway, opened: Opened, asked: TaskRequest
) -> tuple[list[Any], Sequence[Sequence[Hit] | None]]:
    """The rows with the passages that were found for them, and these; None where none were looked for.

    Raises DataError for a row that does not fit the pack's schema, and Fault 503 when the documents cannot be searched:
    nothing is answered then.
    """
    rows = await asyncio.to_thread(_rows, opened, asked)
    if one.rag is None or not asked.rag or opened.task.retrieval is None:
        return rows, [None] * len(rows)
    try:
        found = await computed(one, one.rag.put, opened.task, rows)
    except DataError:
        raise
    except AppkitError as error:  # it may name a server that is nobody's business
        log.warning("the documents cannot be searched: %s", error)
        raise Fault(
            503, "the documents cannot be searched now; ask who runs this gateway", retry_after=10
        ) from None
    return [row for row, _ in found], [hits for _, hits in found]


def _rows(opened: Opened, asked: TaskRequest) -> list[Any]:
    from appkit.bundles.specialist import input_row

    rows: list[Any] = []
    for place, given in enumerate(asked.rows):
        try:
            rows.append(input_row(opened.task, given))
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


def _citations(opened: Opened, made: Prediction, hits: Sequence[Hit] | None) -> list[Citation] | None:
    return None if hits is None else AtHand.citations(opened.task, made.parsed.value, hits)


def _jobs(one: Gateway, target: Target, opened: Opened, asked: TaskRequest, rows: Sequence[Any]) -> list[Job]:
    decoding, jobs = opened.manifest["decoding"], []
    for row in rows:
        tokens = tuple(opened.chat.prompt(opened.task.prompt(row, opened.config.task)))
        jobs.append(
            Job(
                target.adapter,
                tokens,
                room_for(one, target, tokens, None),
                opened.stop,
                decoding["temperature"],
                decoding["top_p"],
                decoding["top_k"],
                decoding["seed"] if decoding["temperature"] else None,
                opened.manifest["grammar"] if asked.constrain else None,
                asked.confidence or asked.threshold is not None,
            )
        )
    return jobs


class Reader:
    """From a finished answer to what the pack makes of it, as `appkit predict` does."""

    def __init__(self, opened: Opened, asked: TaskRequest) -> None:
        """Raises Fault when the bundle lacks what is asked for."""
        self.opened, self.threshold = opened, asked.threshold
        if asked.constrain and not opened.manifest.get("grammar"):
            raise Fault(400, f"task {opened.task.name!r} has no grammar; ask without constrain")
        wanted = asked.confidence or asked.threshold is not None
        if asked.base and wanted:
            raise Fault(
                400, "confidence is calibrated for the adapter, not for its base; ask without one of them"
            )
        self.calibration = confidence.of_manifest(opened.manifest) if wanted else None
        if wanted and self.calibration is None:
            why = opened.manifest.get("no_confidence") or "it was trained before there were any"
            raise Fault(400, f"{opened.ref} has no calibrated confidence ({why}); ask without it")

    def result(
        self,
        tokens: Sequence[int],
        log_probabilities: Sequence[float],
        finish: str | None,
        hits: Sequence[Hit] | None = None,
    ) -> Result:
        from appkit.models.generate import cut_loop

        kept = cut_loop(tokens, self.opened.config.decoding.loop)
        truncated = finish != "stop" or len(kept) < len(tokens)
        text = self.opened.chat.decode(kept).strip()
        parsed = self.opened.task.parse(text)
        one = Prediction(text, parsed, len(kept) + (not truncated), truncated)
        sure = None
        if self.calibration is not None:
            sure = confidence.confidence(self.calibration, log_probabilities, one.whole)
        abstained = self.threshold is not None and sure is not None and sure < self.threshold
        return Result(
            text=text,
            parsed=None if abstained else parsed.value,
            error=parsed.error,
            truncated=truncated,
            tokens=one.tokens,
            confidence=sure,
            abstained=abstained,
            citations=_citations(self.opened, one, hits),
        )


async def _events(
    one: Gateway,
    request: Request,
    target: Target,
    jobs: list[Job],
    reader: Reader,
    hits: Sequence[Sequence[Hit] | None],
) -> AsyncGenerator[dict[str, Any]]:
    read: dict[int, list[Delta]] = {row: [] for row in range(len(jobs))}
    with ExitStack() as stack:
        stack.enter_context(in_use(one, request, target, len(jobs)))
        sources = [deltas(target.engine, job, reader.opened.chat) for job in jobs]
        async with aclosing(merged(sources)) as parts:
            async for row, delta in parts:
                read[row].append(delta)
                if delta.text:
                    yield {"row": row, "delta": delta.text}
                if delta.finish:
                    tokens = [token for part in read[row] for token in part.tokens]
                    likely = [value for part in read[row] for value in part.log_probabilities]
                    result = reader.result(tokens, likely, delta.finish, hits[row])
                    one.metrics.count(target.ref, prompt=len(jobs[row].tokens), answer=result.tokens)
                    log_texts(one, target, jobs[row].tokens, result.text)
                    yield {"row": row, "result": result.model_dump(), "model": target.ref}


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
    tool = _opened(target, alias).task.tools.get(name)
    if tool is None:
        known = ", ".join(_opened(target, alias).task.tools) or "none"
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
