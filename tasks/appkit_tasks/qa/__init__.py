"""Defines the QA pack: question and passages -> short answer with citations."""

from __future__ import annotations

from appkit.task import Decoding, Metric, Retrieval, Task, TextHead
from appkit_tasks.qa import metrics
from appkit_tasks.qa.config import QaConfig
from appkit_tasks.qa.load import QaRow, load, put
from appkit_tasks.qa.prompt import GRAMMAR, answer, cited, few_shot, prompt, target

__all__ = ["TASK"]

LIGHTHOUSE = (
    "The lighthouse of Skarv Head was lit in 1891. Its lamp stands 42 metres above the sea.",
    "Skarv Head has one inn, the Grey Heron, with eleven rooms. Ida Lund has kept it since 2009.",
)

TASK = Task(
    name="qa",
    summary="question and passages -> short answer with citations, or that the documents leave it open",
    config=QaConfig,
    row=QaRow,
    load=load,
    prompt=prompt,
    target=target,
    metrics=(
        Metric("F1", "F1 of the answer's words, nearest reference (SQuAD)", metrics.f1),
        Metric("EM", "equal to a reference but for case, punctuation and articles", metrics.exact),
        Metric(
            "citation",
            "share of citations that name a passage with the answer",
            metrics.citations,
            metrics.ratio,
        ),
        Metric(
            "recall@k", "share of rows with an answer among their passages", metrics.recall, metrics.ratio
        ),
        Metric("nDCG", "how far up such passages stand", metrics.ndcg, metrics.ratio),
        Metric("form", "share of answers that can be read", metrics.in_form),
        Metric("abstained", "share answered with: not in the documents", metrics.abstained),
    ),
    primary="F1",
    input="question",
    output="answers",
    examples=(
        {"question": "When was the lighthouse lit?", "passages": list(LIGHTHOUSE)},
        {"question": "Who keeps the inn at Skarv Head?", "passages": list(LIGHTHOUSE)},
        {"question": "How long is the harbour wall of Skarv Head?", "passages": list(LIGHTHOUSE)},
    ),
    needed=("question", "answers"),
    head=TextHead(
        parse=answer,
        decoding=Decoding(stop=("\n",), loop=32),
        grammar=lambda options: GRAMMAR,
        few_shot=few_shot,
    ),
    retrieval=Retrieval(field="passages", query=lambda row: row.question, put=put, cited=cited),
    strata={"the documents": lambda row: "hold the answer" if row.answerable else "leave it open"},
    defaults={"data": {"max_length": 1536}, "eval": {"few_shot": 2}},
)
