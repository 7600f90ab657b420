"""Builds the page of code changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from appkit.client import Answer
from appkit.errors import GatewayError
from appkit_apps import parts
from appkit_apps.app import LONGEST, Page, refusal, trouble
from appkit_apps.codechange.change import Review, write_change, write_seen
from appkit_apps.codechange.looks import STYLE
from appkit_apps.codechange.texts import write_answer, write_visible, write_words

LARGEST = 200_000
"""characters of a diff, as the pack's tools have it"""
MOST_COMPARED = 4000
"""characters of a comment whose words are compared, as the pack's tools have it"""
BASE = "By the base alone"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""how a file begins that PowerShell wrote"""


@dataclass(frozen=True)
class Problem:
    """What a bundle writes about a change, in the page's words."""

    title: str
    answer: str
    run: str
    """on the button"""


PROBLEMS = {
    "review": Problem("Review of a change", "Review", "Review it"),
    "commit_message": Problem("Commit message of a change", "Commit message", "Write the message"),
    "comment_update": Problem("Comment after a change", "Comment afterwards", "Update the comment"),
}


def build(page: Page) -> None:
    """Builds the page: a diff, the answer of the bundle's problem, and the diff file by file."""
    name = _options(page).get("problem")
    name = name if name in PROBLEMS else "commit_message"
    problem = PROBLEMS[name]
    gr.Markdown(f"# {problem.title}")
    parts.about(page)
    diff = gr.Textbox(label="Diff, such as git writes it", lines=8, max_lines=20, elem_id="diff")
    file = gr.File(
        label="Or a .diff or .patch file", file_types=[".diff", ".patch"], height=140, elem_id="patch"
    )
    file.upload(_read_upload, file, diff, show_progress="hidden", api_visibility="private")
    comment = gr.Textbox(
        label="Comment before the change",
        lines=2,
        visible=name == "comment_update",
        elem_id="comment",
    )
    beside = gr.Checkbox(label="Show the base's answer too", elem_id="beside")
    with gr.Row():
        run = gr.Button(problem.run, variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop")
    fields = [diff, comment] if name == "comment_update" else [diff]
    if examples := _examples(page.about, [field.elem_id for field in fields]):
        gr.Examples(examples, fields, label="Try one", api_name=None)
    answer = gr.Textbox(label=problem.answer, lines=2, interactive=False, buttons=["copy"], elem_id="answer")
    change = gr.HTML(label="The change", css_template=STYLE, elem_id="change")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)

    def respond(typed: str, old: str | None, compare: bool, request: gr.Request) -> tuple[Any, ...]:
        asked = Asked(page, request, name)
        row, described = asked.describe(typed or "", old or "")
        given, seconds = asked.ask(row)
        base = asked.ask(row, base=True)[0] if compare else None
        return (
            given.text,
            asked.write(row, described, given, base),
            parts.facts([given], seconds),
            parts.link(row | {"beside": compare}),
            parts.answered(row, given),
        )

    answering = gr.on(
        [run.click, diff.submit],
        respond,
        [diff, comment, beside],
        [answer, change, cost, shared, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-answer",
    )
    # the gateway ends what it has begun; its answer is dropped
    stop.click(None, cancels=[answering], api_visibility="private")
    parts.corrections(page, last, "Start from the answer")
    parts.restore(page, {"diff": diff, "comment": comment, "beside": beside})


@dataclass(frozen=True)
class Asked:
    """A user's request; it calls the pack's tools."""

    page: Page
    request: gr.Request
    problem: str

    def describe(self, text: str, comment: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Makes the row to be answered, with secrets masked; returns it with what the tool says of the diff."""
        if not text.strip():
            raise trouble("Nothing to read: paste a diff, or choose a file.")
        if len(text) > LARGEST:
            raise trouble(_too_large(f"The diff has {len(text):,} characters"))
        if self.problem == "comment_update" and not comment.strip():
            raise trouble("Write the comment as it was before the change.")
        if len(comment) > LONGEST:
            raise trouble(f"The comment has {len(comment):,} characters, the limit here is {LONGEST:,}.")
        described = self._tool("diff", text=text)
        row = {"diff": described["text"]}
        return row | ({"comment": comment} if self.problem == "comment_update" else {}), described

    def ask(self, row: Mapping[str, Any], base: bool = False) -> tuple[Answer, float]:
        """Asks for the answer; returns it with the seconds it took. `Page.ask` takes no field as long as a diff."""
        self.page.limiter.take(self.request, 1)
        calibrated = not base and bool(self.page.about.get("confidence"))
        began = time.monotonic()
        try:
            (answer,) = self.page.client.task(self.page.alias, [row], base=base, confidence=calibrated)
        except GatewayError as error:
            raise trouble(refusal(error, self.page.alias)) from None
        return answer, time.monotonic() - began

    def write(
        self, row: Mapping[str, Any], described: Mapping[str, Any], answer: Answer, base: Answer | None
    ) -> str:
        """Writes the answers above the change; remarks stand in it."""
        answers = [(PROBLEMS[self.problem].answer, "", answer)]
        if base is not None:
            answers.append((BASE, BASE.lower(), base))
        reviews: list[Review] = []
        if self.problem == "review":
            reviews = [self._review(row["diff"], *each) for each in answers]
            boxes = [review.write() for review in reviews]
        elif self.problem == "comment_update":
            boxes = self._compare(row["comment"], answers)
        else:
            boxes = [
                write_answer(title, write_visible(each.text), self._note(each)) for title, _, each in answers
            ]
        return (
            f'<div class="look change"><div class="answers">{"".join(boxes)}</div>'
            f"{self._seen(row['diff'])}{write_change(described, reviews)}</div>"
        )

    def _review(self, text: str, title: str, by: str, answer: Answer) -> Review:
        found = self._tool("remarks", text=text, answer=answer.text[:LONGEST])
        return Review(title, by, found["remarks"], self._note(answer), answer.error is None)

    def _compare(self, comment: str, answers: Sequence[tuple[str, str, Answer]]) -> list[str]:
        """Writes the comment before the change, and the answers with the words that differ from it."""
        before, boxes = write_visible(comment), []
        for title, by, answer in answers:
            after = write_visible(answer.text)
            if max(len(comment), len(answer.text)) <= MOST_COMPARED:
                runs = self._tool("words", before=comment, after=answer.text)
                after = write_words(runs["after"])
                before = before if by else write_words(runs["before"])
            boxes.append(write_answer(title, after, self._note(answer)))
        return [write_answer("Comment before", before), *boxes]

    def _seen(self, text: str) -> str:
        """Writes what the model read of the change; "" where the gateway does not say how the bundle reads."""
        options = _options(self.page)
        if "diff_chars" not in options:
            return ""
        view = self._tool(
            "view",
            text=text,
            chars=options["diff_chars"],
            numbers=self.problem == "review",
            before_after=options.get("view") == "before_after",
        )
        return write_seen(view)

    def _note(self, answer: Answer) -> str:
        """Says how sure the model is, and what is wrong with the answer as a whole; "" for nothing."""
        said = []
        if answer.confidence is not None:
            metric = (self.page.about.get("confidence") or {}).get("metric")
            right = f"Right ({metric})" if metric else "Right"
            said.append(f"{right} with probability {answer.confidence:.2f}.")
        if answer.truncated:
            said.append("It was cut off at the limit.")
        if answer.error:
            said.append(f"It could not be read: {answer.error}.")
        return " ".join(said)

    def _tool(self, name: str, **arguments: Any) -> Any:
        return self.page.tool(self.request, name, **arguments)


def _options(page: Page) -> Mapping[str, Any]:
    return page.about.get("options") or {}


def _too_large(what: str) -> str:
    return f"{what}, the limit here is {LARGEST:,}; send fewer files at once."


def _read_upload(upload: str | None) -> str:
    """Reads the uploaded diff. Raises gr.Error for one that is too large."""
    if not upload:
        return ""
    path = Path(upload)
    if (size := path.stat().st_size) > LARGEST:
        raise trouble(_too_large(f"The file has {size:,} bytes"))
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig", "replace")


def _examples(about: Mapping[str, Any], fields: Sequence[str | None]) -> list[list[str]]:
    """Lists the examples that have all of these fields."""
    return [
        [str(example[field]) for field in fields]
        for example in about["examples"]
        if isinstance(example, Mapping) and all(example.get(field) for field in fields)
    ]
