"""Readers read cells by column, with their places, from a file or a data set on the hub; no schema is applied yet.

A row that cannot be read is a `Fault` with its place; only a whole file that cannot be read raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from appkit.data.conll import read_conll
from appkit.data.delimited import read_delimited
from appkit.data.limits import DEPTH, Limits, is_deep, measure_texts
from appkit.data.lines import CONLL, SUFFIXES, find_bad_byte, open_file, read_lines, resolve_path, suffix_of
from appkit.data.objects import DuplicateKeyError, make_object
from appkit.data.tables import Fault, Format, Table, place_of
from appkit.errors import DataError, shortened

__all__ = ["HUB", "SUFFIXES", "Fault", "Format", "Table", "open_file", "place_of", "read_table"]

HUB = re.compile(r"hub:(?P<id>[^@:\s]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<split>\S+))?")
LINE_END = re.compile(r"\r\n|\n|\r")
UTF8 = Format()
DEEP = f"is nested deeper than {DEPTH}"
BATCH_ROWS = 256
"""rows of Parquet that are unpacked at once; one value of a page can stand in all of them"""
VALUE_BYTES = 8
"""memory of a value of Parquet, at least: it may take a bit of the file, or none"""


def _read_jsonl(path: Path, source: str, columns: Collection[str], form: Format) -> Table:
    table = Table()
    for line, text in enumerate(read_lines(path, form), 1):
        table.lines = line
        if not text.strip():
            table.other += 1
            continue
        if bad := find_bad_byte(source, line, text, form):
            table.lose(bad)
            continue
        try:
            # stripped, or else an error at the end counts as column 1 of the next line
            value = json.loads(text.rstrip(), object_pairs_hook=make_object)
        except json.JSONDecodeError as error:
            reason = f"is broken JSON: {error.msg} at column {error.colno}"
        except DuplicateKeyError as error:
            reason = str(error)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits; ten thousand brackets
            reason = f"is JSON beyond limits: {error}"
        else:
            if isinstance(value, dict) and not is_deep(value):
                table.rows.append((line, value))
                continue
            reason = DEEP if isinstance(value, dict) else "is not a JSON object {...}"
        table.lose(Fault(source, line, None, reason, shortened(text.strip())))
    table.columns = _collect_columns(table.rows)
    alone = len(table.rows) == 1 and not set(table.columns) & set(columns)
    if alone and (nested := _describe_nested(table.rows[0][1])):
        raise DataError(f"{source!r} {nested}")
    return table


def _collect_columns(rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(key for _, cells in rows for key in cells))


def _describe_nested(value: Mapping[str, Any]) -> str | None:
    """Say what to do with one object that holds all rows, None for any other."""
    rows = next(
        (key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict)),
        None,
    )
    if rows is None:
        return None
    if "paragraphs" in value[rows][0]:
        return (
            f"is SQuAD's nested JSON ({rows}, paragraphs, qas), not rows; write one object for each question, with "
            f"its paragraph: jq -c '.{rows}[].paragraphs[] | .context as $c | .qas[] | . + {{context: $c}}'"
        )
    return (
        f"is one JSON object that holds a list under {rows!r}, not rows; take the list out: jq -c '.{rows}[]'"
    )


def _read_json(path: Path, source: str, form: Format) -> Table:
    """Read a JSON array. Elements are decoded one by one to know the line of each.

    Raises DataError where the JSON is broken: unlike in JSONL, the next element cannot be found.
    """
    table, text = Table(), "".join(read_lines(path, form))
    if not text.lstrip().startswith("["):
        raise DataError(f"{source!r} {_describe_object(text)}")
    line, last, at = 1, 0, _skip_gap(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        try:
            value, end, twice = _decode_element(text, at)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{source!r} is broken JSON: {error}; repair it, or write one object a line (.jsonl)"
            ) from error
        line, last = line + len(LINE_END.findall(text, last, at)), at
        table.lines += 1
        form.limits.check_lines(source, table.lines)
        if bad := find_bad_byte(source, line, text[at:end], form):
            table.lose(bad)
        elif twice:
            table.lose(Fault(source, line, None, twice, shortened(text[at:end])))
        elif is_deep(value):
            table.lose(Fault(source, line, None, DEEP, shortened(value)))
        elif isinstance(value, dict):
            table.rows.append((line, value))
        else:
            table.lose(Fault(source, line, None, "is not a JSON object {...}", shortened(value)))
        at = _skip_gap(text, end)
    if text[at + 1 :].strip():
        raise DataError(
            f"{source!r} goes on after its array with {shortened(text[at + 1 :].strip())}; remove that"
        )
    table.columns = _collect_columns(table.rows)
    return table


def _decode_element(text: str, at: int) -> tuple[Any, int, str | None]:
    """Decode the element at a place: its value, where it ends, and what is said of a key that it has twice, if any."""
    # not strict: a NUL then costs its row, not the file
    try:
        decoder = json.JSONDecoder(strict=False, object_pairs_hook=make_object)
        return *decoder.raw_decode(text, at), None
    except DuplicateKeyError as error:
        return *json.JSONDecoder(strict=False).raw_decode(text, at), str(error)


def _describe_object(text: str) -> str:
    """Say what a .json file is that does not begin with an array."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    nested = _describe_nested(value) if isinstance(value, dict) else None
    return nested or "is not a JSON array [...]; if each line is an object, rename it to .jsonl"


def _skip_gap(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n", ","):
        at += 1
    return at


def _read_parquet(path: Path, source: str, columns: Collection[str], form: Format) -> Table:
    """Read only these columns: the others may be images or vectors. Numbers that stand for names become the names.

    A few bytes can stand for any number of rows, and one value for all of them. So what the file says of itself is held
    to the limits before anything is unpacked, and then each batch, since it may say what it likes.
    """
    import pyarrow
    import pyarrow.parquet

    if path.suffix.lower() == ".gz":
        raise DataError(f"{source!r} is packed, and Parquet is read in place; unpack it: gunzip")
    with open_file(path) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            table = Table(columns=list(parquet.schema_arrow.names))
            present = [name for name in table.columns if name.strip() in columns]
            _check_footer(parquet.metadata, present, source, form.limits)
            size = 0
            for batch in parquet.iter_batches(BATCH_ROWS, columns=present):
                form.limits.check_bytes(source, size + batch.nbytes)
                form.limits.check_lines(source, table.lines + batch.num_rows)
                before = len(table.rows)
                _append_arrow_rows(batch, source, table)
                if form.limits.bytes is not None:
                    # a column of codes holds each text once, and its rows one each
                    size += max(batch.nbytes, measure_texts(cells for _, cells in table.rows[before:]))
                    form.limits.check_bytes(source, size)
            features = _read_features(parquet.schema_arrow.metadata or {})
        except MemoryError:
            raise
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{source!r} is not a sound Parquet file: {error}; write it again") from error
    _name_classes(table, source, {name: features[name] for name in present if name in features})
    return table


def _check_footer(metadata: Any, columns: Collection[str], source: str, limits: Limits) -> None:
    """Hold what a Parquet file says of its rows and of these columns to the limits."""
    limits.check_lines(source, metadata.num_rows)
    if limits.bytes is None:
        return
    size = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            chunk = row_group.column(place)
            if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns):
                size += max(chunk.total_uncompressed_size, VALUE_BYTES * chunk.num_values, 0)
    limits.check_bytes(source, size)


def _append_arrow_rows(batch: Any, source: str, table: Table) -> None:
    """Append the rows of a batch to the table. Arrow does not check that text is UTF-8, so a row may fail to decode."""
    first = table.lines + 1
    table.lines += batch.num_rows
    try:
        rows = list(enumerate(batch.to_pylist(), first))
    except UnicodeDecodeError:  # one by one, then, to know which
        rows = []
        for line in range(first, first + batch.num_rows):
            try:
                rows.append((line, batch.slice(line - first, 1).to_pylist()[0]))
            except UnicodeDecodeError as error:
                reason = f"byte {error.start + 1} of a cell is not UTF-8"
                table.lose(Fault(source, line, None, reason, shortened(error.object)))
    for line, cells in rows:
        if is_deep(cells):
            table.lose(Fault(source, line, None, DEEP, shortened(cells)))
        else:
            table.rows.append((line, cells))


def _read_features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Read what the package datasets wrote into a Parquet file about its columns; empty where it did not."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) and not is_deep(features) else {}


def _name_classes(table: Table, source: str, features: Mapping[str, Any]) -> None:
    """Put names in the place of the numbers that stand for them (`ClassLabel`), also inside lists."""
    names = {name: found for name, feature in features.items() if (found := _find_class_names(feature))}
    renamed = set()
    for _, cells in table.rows:
        for column, classes in names.items():
            try:
                value = cells[column]
                cells[column] = _name_class(value, classes)
                if cells[column] is not value and cells[column] != value:  # NaN is unlike itself
                    renamed.add(column)
            except IndexError:
                raise DataError(
                    f"{source!r} holds {shortened(cells[column])} in {column!r}, and names for 0 to "
                    f"{len(classes) - 1} only; write the names into the column"
                ) from None
    table.notes += [
        f"{source}: the numbers of column {column!r} are read as the names that are stored beside them "
        f"({', '.join(map(str, classes[:3]))}{', …' if len(classes) > 3 else ''})"
        for column, classes in names.items()
        if column in renamed
    ]


def _find_class_names(feature: Any) -> list[str] | None:
    """Find the class names of a feature or of the items of its lists."""
    if isinstance(feature, list) and len(feature) == 1:
        return _find_class_names(feature[0])
    if not isinstance(feature, dict):
        return None
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list) and names:
        return names
    return _find_class_names(feature.get("feature"))


def _name_class(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_name_class(item, names) for item in value]
    number = _read_class_number(value, names)
    if number is None:
        return value
    if number == -1:  # of rows without a label, by the package's custom
        return None
    if number < 0:
        raise IndexError(number)
    return names[number]


def _read_class_number(value: Any, names: list[str]) -> int | None:
    """Read the number of a class, also from a column that pandas has made floats or text of; None: it is none."""
    if isinstance(value, str):
        return (
            int(float(value)) if value not in names and re.fullmatch(r"-?[0-9]{1,9}(\.0)?", value) else None
        )
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if type(value) is int else None


def _read_hub(source: str, columns: Collection[str]) -> Table:
    """Read a split of a data set of the Hugging Face hub; "train" unless the source names another.

    Raises DataError if the name is malformed, `datasets` is not installed, or the hub does not provide it.
    """
    match = HUB.fullmatch(source)
    if match is None:
        raise DataError(
            f"{source!r} is not hub:org/name[@revision][:split]; write for instance hub:org/name:train"
        )
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source!r} needs the package datasets; pip install 'appkit[hub]'") from error
    try:
        rows = datasets.load_dataset(match["id"], split=match["split"] or "train", revision=match["revision"])
    except ConnectionError as error:
        raise DataError(
            f"cannot reach the hub for {source!r}: {error}; go online (is HF_HUB_OFFLINE set?), or save "
            "the rows as a file and name that"
        ) from error
    except (ValueError, OSError) as error:  # unknown name, split, revision or configuration; gated
        raise DataError(
            f"the hub does not give {source!r}: {error}; check name, revision and split"
        ) from error
    table = Table(columns=list(rows.column_names))
    rows = rows.select_columns([name for name in table.columns if name.strip() in columns])
    table.rows = list(enumerate(rows.to_list(), 1))
    table.lines = len(table.rows)
    _name_classes(table, source, rows.features.to_dict())
    return table


def read_table(source: str, columns: Collection[str], form: Format = UTF8) -> Table:
    """Read the cells of a source. columns: those to read where the others can be skipped (Parquet, hub).

    Raises DataError when the source as a whole cannot be read.
    """
    if source.startswith("hub:"):
        return _read_hub(source, columns)
    path = resolve_path(source)
    match suffix_of(path):
        case ".csv":
            return read_delimited(path, source, form.delimiter or ",", columns, form)
        case ".tsv":
            return read_delimited(path, source, form.delimiter or "\t", columns, form)
        case ".json":
            return _read_json(path, source, form)
        case ".parquet":
            return _read_parquet(path, source, columns, form)
        case suffix if suffix in CONLL:
            return read_conll(path, source, columns, form)
        case _:
            return _read_jsonl(path, source, columns, form)
