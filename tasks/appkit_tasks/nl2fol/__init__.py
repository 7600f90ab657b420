"""Defines the NL→FOL pack: English sentence -> formula of first-order logic."""

from __future__ import annotations

from appkit.task import Decoding, Metric, Prediction, Task, TextHead
from appkit_tasks.nl2fol import metrics
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.equivalence import Verdict
from appkit_tasks.nl2fol.grammar import ebnf
from appkit_tasks.nl2fol.load import FolRow, load, row_for, row_notes
from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.prompt import answer, few_shot, prompt, target
from appkit_tasks.nl2fol.syntax import connectives, depth, quantifiers
from appkit_tasks.nl2fol.tools import TOOLS

__all__ = ["TASK"]


def _parses(row: FolRow, prediction: Prediction) -> tuple[float]:
    return (float(prediction.parsed.error is None),)


def _strict(row: FolRow, prediction: Prediction) -> tuple[float]:
    return (float(metrics.strict_equivalence(prediction.answer, row.formula) is Verdict.EQUIVALENT),)


def _undecided(row: FolRow, prediction: Prediction) -> tuple[float]:
    return (float(metrics.strict_equivalence(prediction.answer, row.formula) is Verdict.UNDECIDED),)


def _exact(row: FolRow, prediction: Prediction) -> tuple[float]:
    return (float(metrics.exact_match(prediction.answer, row.formula)),)


def _le(row: FolRow, prediction: Prediction) -> tuple[float]:
    return (metrics.logical_equivalence(prediction.answer, row.formula),)


def _bleu(row: FolRow, prediction: Prediction) -> tuple[float, ...]:
    return tuple(map(float, metrics.bleu_statistics(prediction.answer, row.formula)))


def _complexity(row: FolRow) -> str:
    formula = parse(row.formula)
    several = quantifiers(formula) >= 2 or connectives(formula) >= 3
    return "2+ quantifiers or 3+ connectives" if several else "simpler"


def _depth(row: FolRow) -> str:
    level = depth(parse(row.formula))
    return str(level) if level < 7 else "7+"


TASK = Task(
    name="nl2fol",
    summary="English sentence -> formula of first-order logic",
    config=Nl2FolConfig,
    row=FolRow,
    row_for=row_for,
    row_notes=row_notes,
    load=load,
    prompt=prompt,
    target=target,
    metrics=(
        Metric("strict", "equivalent to the reference by Z3, names aligned before any truth test", _strict),
        Metric("parse", "share of answers that are formulas", _parses),
        Metric(
            "LE",
            "truth-table agreement of LogicLLaMA (arXiv 2305.15541); ignores quantifiers; with more than "
            f"{metrics.MAX_LITERALS} distinct atoms a reference is not scored and an answer scores 0",
            _le,
        ),
        Metric("exact", "same normal text as the reference", _exact),
        Metric(
            "BLEU", "corpus BLEU-4 over formula tokens (sacrebleu)", _bleu, metrics.bleu_matrix, scale=100
        ),
        Metric(
            "undecided",
            "Z3 ran out of its limit; counted as wrong in strict",
            _undecided,
            higher_is_better=False,
        ),
    ),
    primary="strict",
    input="sentence",
    output="formula",
    examples=(
        "Every dog that chases a cat barks.",
        "No student who studies fails every exam.",
        "Either Maria or Tom is a doctor, but not both.",
    ),
    head=TextHead(
        parse=answer,
        # a formula is one line: what follows is no answer; `loop` ends the repetitions that the base falls into
        decoding=Decoding(stop=("\n",), loop=32),
        grammar=lambda options: ebnf(options.notation),
        few_shot=few_shot,
    ),
    strata={"complexity": _complexity, "depth": _depth},
    tools=TOOLS,
)
