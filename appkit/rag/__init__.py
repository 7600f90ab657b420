"""RAG gives documents to prompts: an index on disk, hybrid retrieval with a re-ranker, and a LangChain retriever."""

from appkit.rag.index import Hit, Index, build

__all__ = ["Hit", "Index", "build"]
