"""The commands around documents: rag index, rag search."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from appkit.cli.terminal import quiet_libraries, say

__all__ = ["app"]

app = typer.Typer()
rag = typer.Typer(no_args_is_help=True, help="Documents at hand: index, search.")
app.add_typer(rag, name="rag")


@rag.command("index")
def rag_index(
    documents: Annotated[
        list[Path], typer.Argument(help="Files or directories: text, Markdown, HTML, PDF, JSONL.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Directory of the index, made or brought up to date.")],
    embeddings: Annotated[
        str, typer.Option(help="minilm, or a model of sentence-transformers by name.")
    ] = "minilm",
    size: Annotated[int, typer.Option(help="Characters of a passage, at most.")] = 1000,
    overlap: Annotated[int, typer.Option(help="Characters that neighbours share, at most.")] = 100,
    store: Annotated[
        str, typer.Option(help="faiss, qdrant or chroma; qdrant=http://host:6333 for a server.")
    ] = "faiss",
) -> None:
    """Index documents; embeds only passages that changed since the last time."""
    from appkit.rag import build

    quiet_libraries()
    summary = build(documents, to, embeddings=embeddings, size=size, overlap=overlap, store=store, say=say)
    print(
        f"{summary.path}: {summary.passages} passages of {summary.files} files, {summary.embedded} newly embedded"
    )


@rag.command("search")
def rag_search(
    index: Annotated[Path, typer.Argument(help="Directory of the index.")],
    query: Annotated[str, typer.Argument(help="The question, or words of it.")],
    k: Annotated[int, typer.Option("-k", help="Passages.")] = 5,
    by: Annotated[str, typer.Option(help="dense, bm25 or hybrid.")] = "hybrid",
    judge: Annotated[bool, typer.Option("--judge", help="QIM puts the best 20 in order.")] = False,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects.")] = False,
) -> None:
    """Show the passages nearest to a query, with their sources and scores."""
    from appkit.rag import Index

    quiet_libraries()
    for hit in Index.open(index).search(query, k, by=by, judge=judge):  # type: ignore[arg-type]
        if as_json:
            print(json.dumps({"score": hit.score, **asdict(hit.passage)}, ensure_ascii=False))
        else:
            text = " ".join(hit.passage.text.split())
            print(f"{hit.score:.4f}  {hit.passage.source}:{hit.passage.start}\n        {text[:160]}")
