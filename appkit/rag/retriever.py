"""Retriever makes an index a LangChain retriever, for chains of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from appkit.arguments import read_path
from appkit.errors import ConfigError
from appkit.rag.index import By, Index

__all__ = ["IndexRetriever", "retriever"]


class IndexRetriever(BaseRetriever):
    """Returns documents with `source`, `start`, `id` and `score` in their metadata, nearest first."""

    index: Any
    """an open `Index`"""
    k: int = 5
    """documents for a query"""
    by: By = "hybrid"
    """dense, bm25 or hybrid"""
    judge: bool = False
    """QIM re-ranks the best 20"""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        """k: for this query. Raises ConfigError for a k below 1, and for another option: it would change nothing."""
        options.pop("verbose", None)  # LangChain's own
        if options:
            raise ConfigError(
                f"a query takes the option k, got {', '.join(sorted(options))}; set the others in retriever(...)"
            )
        return [
            Document(
                hit.passage.text,
                id=hit.passage.id,
                metadata={
                    "source": hit.passage.source,
                    "start": hit.passage.start,
                    "id": hit.passage.id,
                    "score": hit.score,
                },
            )
            for hit in self.index.search(query, self.k if k is None else k, by=self.by, judge=self.judge)
        ]


def retriever(index: str | Path, *, k: int = 5, by: By = "hybrid", judge: bool = False) -> IndexRetriever:
    """Make a retriever over the index in a directory. Raises DataError when there is none."""
    return IndexRetriever(
        index=Index.open(read_path(index, "the directory of an index")), k=k, by=by, judge=judge
    )
