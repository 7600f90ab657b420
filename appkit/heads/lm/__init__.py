"""Answers in words by the base's own language-model head."""
