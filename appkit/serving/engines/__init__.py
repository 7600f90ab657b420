"""Engines answer with one base and many adapters, asked by token ids; vLLM as a process, transformers in this one."""
