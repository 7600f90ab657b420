"""Text as it comes: no character is torn, nothing of a stop string is given out, however the text is cut up."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import CHAT, END, FakeEngine, supervised
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from appkit.heads.lm.detokenize import Answer, Delta, Detokenizer, StopStrings, answer, deltas
from appkit.models.chat import Chat
from appkit.serving.engines import vllm
from appkit.serving.engines.protocol import NULL, Job


@lru_cache
def spaced() -> Chat:
    """Words that carry the space before them, which decoding strips at the very beginning; and single bytes."""
    words = ["<s>", "</s>", "▁the", "▁dog", "▁", "s", "é", "▁barks", ".", "▁🙂"]
    vocabulary = [*words, *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = Tokenizer(models.BPE({token: n for n, token in enumerate(vocabulary)}, [], byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Chat(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))


def parts(chat: Chat, tokens: Sequence[int], size: int = 1) -> list[str]:
    """What comes out, `size` tokens at a time."""
    reader, found = Detokenizer(chat), []
    for start in range(0, len(tokens), size):
        found.append(reader.add(tokens[start : start + size], last=start + size >= len(tokens)))
    return found


@pytest.mark.parametrize("text", ["é", "∀x (P(x) → Q(x))", "🙂🙂", "a\u0301 e\u0301", "👩‍👩‍👧", "语言 ok"])
def test_a_character_comes_once_it_is_whole(text: str) -> None:
    tokens = CHAT.ids(text)
    found = parts(CHAT, tokens)
    assert len(tokens) == len(text.encode())
    assert [part for part in found if part] == list(text)


def test_a_character_that_never_becomes_whole_is_given_at_the_end() -> None:
    tokens = CHAT.ids("ok 🙂")[:-1]
    assert parts(CHAT, tokens) == ["o", "k", " ", "", "", "\N{REPLACEMENT CHARACTER}"]


def test_a_space_before_a_word_is_kept_but_at_the_beginning() -> None:
    chat = spaced()
    tokens = chat.tokenizer.convert_tokens_to_ids(["▁the", "▁dog", "s", "▁", "▁barks", ".", "▁🙂"])
    assert parts(chat, tokens) == ["the", " dog", "s", " ", " barks", ".", " 🙂"]


def test_tokens_that_are_no_text_give_none() -> None:
    assert parts(CHAT, [END, *CHAT.ids("a"), END, *CHAT.ids("b")]) == ["", "a", "", "b"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, len(CHAT.tokenizer) - 1), max_size=24), st.integers(1, 5))
def test_the_parts_are_the_whole(tokens: list[int], size: int) -> None:
    """Over a real byte-level tokenizer; most of these ids are no UTF-8."""
    assert "".join(parts(CHAT, tokens, size)) == CHAT.decode(tokens)


WORDS = st.integers(0, 9).map(lambda token: [token])
BYTES = st.sampled_from("a é€🙂").map(lambda letter: [10 + byte for byte in letter.encode()])


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS | BYTES, max_size=12), st.integers(1, 5))
def test_the_parts_are_the_whole_with_spaces_in_the_words(spelled: list[list[int]], size: int) -> None:
    """Bytes spell whole characters here: what a wrong one does to those before it, no stream can take back."""
    tokens = [token for one in spelled for token in one]
    assert "".join(parts(spaced(), tokens, size)) == spaced().decode(tokens)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.integers(1, 5))
def test_the_parts_of_a_text_are_the_text(text: str, size: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert "".join(parts(CHAT, CHAT.ids(text), size)) == CHAT.decode(CHAT.ids(text))


# --- stop strings -----------------------------------------------------------------------------------------

FEW = st.text("ab\n", max_size=12)


def cut(text: str, strings: Sequence[str]) -> str:
    """The whole text, cut before the stop string that is complete first (the longest, if two are at once)."""
    places = [(text.find(one) + len(one), text.find(one)) for one in strings if one and one in text]
    return text[: min(places)[1]] if places else text


@settings(max_examples=1000, deadline=None)
@given(FEW, st.lists(st.text("ab\n", max_size=4), max_size=3), st.lists(st.integers(0, 12), max_size=6))
def test_any_split_is_cut_like_the_whole(text: str, strings: list[str], places: list[int]) -> None:
    stops, given_out = StopStrings(strings), []
    bounds = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    for number, (start, end) in enumerate(pairwise(bounds), 2):
        given_out.append(stops.add(text[start:end], last=number == len(bounds)))
    assert "".join(given_out) == cut(text, strings)
    assert stops.stopped == any(one and one in text for one in strings)


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    stops = StopStrings(["END"])
    assert [stops.add(part) for part in ("abE", "N", "x", "EN")] == ["ab", "", "ENx", ""]
    assert stops.add("", last=True) == "EN"


def test_nothing_comes_after_a_stop() -> None:
    stops = StopStrings(["."])
    assert [stops.add(part) for part in ("a.b", "c", "d.")] == ["a", "", ""]
    assert stops.stopped


# --- answers ----------------------------------------------------------------------------------------------


def run(text: str, stop: Sequence[str] = (), max_tokens: int = 99) -> tuple[list[Delta], Answer, FakeEngine]:
    """The same question streamed and whole."""

    async def ask() -> Any:
        engine = FakeEngine()
        engine.answers[NULL] = text
        one = supervised(engine)
        await one.start()
        job = Job(NULL, (5,), max_tokens, frozenset({END}), log_probabilities=True)
        streamed = [part async for part in deltas(one, job, CHAT, stop)]
        whole = await answer(one, job, CHAT, stop)
        await one.close()
        return streamed, whole, engine

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("stop", "most", "text", "finish"),
    [
        ((), 99, "P(é) 🙂. Q", "stop"),
        (("🙂",), 99, "P(é) ", "stop"),
        (("none",), 99, "P(é) 🙂. Q", "stop"),
        ((), 2, "P(", "length"),
        (("none",), 2, "P(", "length"),
        ((" Q",), 99, "P(é) 🙂.", "stop"),
    ],
)
def test_streamed_and_whole_are_the_same_answer(
    stop: tuple[str, ...], most: int, text: str, finish: str
) -> None:
    streamed, whole, _ = run("P(é) 🙂. Q", stop, most)
    assert ("".join(part.text for part in streamed), streamed[-1].finish) == (text, finish)
    assert (whole.text, whole.finish) == (text, finish)
    assert tuple(token for part in streamed for token in part.tokens) == whole.tokens
    assert tuple(value for part in streamed for value in part.log_probabilities) == whole.log_probabilities
    assert [part.finish for part in streamed[:-1]] == [None] * (len(streamed) - 1)


@pytest.mark.parametrize("stop", [(), ("none",)])
@pytest.mark.parametrize(("most", "count"), [(99, 5), (4, 4), (3, 3)])
def test_the_token_that_ended_it_is_counted_too(stop: tuple[str, ...], most: int, count: int) -> None:
    streamed, whole, _ = run("P(a)", stop, most)
    assert whole.count == count
    assert sum(part.count for part in streamed) == count


def test_a_stop_string_ends_the_engines_work() -> None:
    _, _, engine = run("P(a). Q(b)", (".",))
    assert engine.ended_early.qsize() == 2


def test_vllms_stream_is_split_at_newlines_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def event(tokens: list[int], **more: Any) -> bytes:
        choice = {"text": "a\u2028b\u0085c", "token_ids": tokens, "finish_reason": None} | more
        return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()

    sent = event([1, 2]) + event([3], finish_reason="length")

    async def chunks() -> AsyncIterator[bytes]:
        for place in range(0, len(sent), 7):  # also between the bytes of a character
            yield sent[place : place + 7]

    async def streamed() -> list[int]:
        monkeypatch.setattr(vllm, "version", lambda: "0")
        room = vllm.Room(rank=8, targets=["q_proj"])
        engine = vllm.VllmEngine(tmp_path, dtype="float32", null=tmp_path, room=room, log=tmp_path / "log")
        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=chunks()))
        engine.client = httpx.AsyncClient(base_url="http://engine", transport=transport)
        return [
            token async for piece in engine.stream(Job("one", (0,), max_tokens=3)) for token in piece.tokens
        ]

    assert asyncio.run(streamed()) == [1, 2, 3]
