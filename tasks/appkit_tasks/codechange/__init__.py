"""Defines the code-change pack: a change -> a review, a commit message, or an updated comment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from appkit.task import Build, Decoding, Parsed, Similar, Task, TextHead
from appkit_tasks.codechange.appendix import appendix
from appkit_tasks.codechange.commands.message import COMMIT_MESSAGE
from appkit_tasks.codechange.commands.review import REVIEW
from appkit_tasks.codechange.commands.update import UPDATE_COMMENTS
from appkit_tasks.codechange.config import BuildOptions, CodeChangeConfig
from appkit_tasks.codechange.crystal import crystal_bleu
from appkit_tasks.codechange.load import ChangeRow, load, notes, put_examples, shipped_answers, synonyms
from appkit_tasks.codechange.metrics import METRICS, PRIMARY, SUBJECT_METRICS
from appkit_tasks.codechange.mining import build
from appkit_tasks.codechange.prompt import allows, few_shot, prompt, similar_text, target
from appkit_tasks.codechange.remarks import parse_remarks
from appkit_tasks.codechange.tools import TOOLS

__all__ = ["TASK"]

EXAMPLE = """\
--- a/src/shelf.py
+++ b/src/shelf.py
@@ -12,5 +12,5 @@ def mean_weight(jars):
     \"\"\"Return the mean weight of the jars in grams.\"\"\"
-    if not jars:
-        return 0.0
-    return sum(jar.weight for jar in jars) / len(jars)
+    total = sum(jar.weight for jar in jars)
+    return total / len(jars)
"""


HEAD = TextHead(decoding=Decoding(loop=32), few_shot=few_shot)


def adapt(task: Task, options: CodeChangeConfig) -> Task:
    """Gives the task the metrics of its problem; the answers of a review are read as remarks."""
    head = HEAD
    needed: tuple[str, ...] = ("answer",)
    judge: str | None = None
    metrics = METRICS[options.problem]
    match options.problem:
        case "review":
            head, judge = replace(head, parse=_parse_review), "verdict"
        case "comment_update":
            needed, judge = ("comment", "answer"), "exact"
        case "commit_message" if not options.body:
            metrics = SUBJECT_METRICS
    if options.problem != "review":
        metrics = (*metrics, CRYSTAL[options.problem])
    return replace(
        task, metrics=metrics, primary=PRIMARY[options.problem], judge=judge, needed=needed, head=head
    )


def _parse_review(text: str) -> Parsed:
    if not text.strip():
        return Parsed(None, error="the answer is empty")
    return Parsed(parse_remarks(text))


CRYSTAL = {
    problem: crystal_bleu(partial(shipped_answers, problem))
    for problem in ("commit_message", "comment_update")
}
"""CrystalBLEU, whose n-grams that all texts share are those of the shipped training rows, whatever is measured"""

TASK = Task(
    name="codechange",
    summary="a change of code -> a review, a commit message, or an updated comment",
    config=CodeChangeConfig,
    row=ChangeRow,
    load=load,
    prompt=prompt,
    target=target,
    metrics=METRICS["commit_message"],
    primary=PRIMARY["commit_message"],
    adapt=adapt,
    input="diff",
    output="answer",
    examples=(
        {"diff": EXAMPLE, "language": "python", "comment": "Return the mean weight of the jars in grams."},
    ),
    beside=("comment",),
    needed=("answer",),
    head=HEAD,
    tools=TOOLS,
    synonyms=synonyms,
    build=Build(BuildOptions, build),
    commands={"commit-message": COMMIT_MESSAGE, "review": REVIEW, "update-comments": UPDATE_COMMENTS},
    similar=Similar(
        count=lambda options: options.examples,
        field="examples",
        text=similar_text,
        put=put_examples,
        allowed=allows,
    ),
    row_notes=notes,
    appendix=appendix,
    variants={"without examples": lambda row: row.model_copy(update={"examples": ()})},
    strata={"change of": lambda row: row.changes, "language": lambda row: row.written_in or "unknown"},
    # characters bound the view, tokens the row: odd text may have many
    defaults={"data": {"max_length": 1024, "on_long": "drop"}},
)
