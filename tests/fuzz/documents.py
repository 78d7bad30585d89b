"""Hypothesis strategies that know the structure of what they break: documents of tables and lists, and Parquet tables."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.mutation import NAMES

# What stands in the text where a writer could not follow: nested deeper than any reader's stack, a number of 5,000 digits.
SPELT = {"@deep lists@": "[" * 100_000, "@deep tables@": '{"a":' * 100_000, "@digits@": "1" * 5000, "@beyond@": "1e999"}
LONG = ("x" * 100_000, [0.0] * 2000, {str(k): k for k in range(300)})

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from((-1, 0, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, -1e308, 5e-324, float("nan"), float("inf"))),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(NAMES),
    st.sampled_from(tuple(SPELT)),
)
_values = st.one_of(
    _scalars,
    st.sampled_from(LONG),
    st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)),
)
Place = tuple[Any, ...]


@st.composite
def hostile(draw: DrawFn, documents: Sequence[Any]) -> Any:
    """A valid document with one to four fields dropped, renamed, doubled, wrapped or of another kind."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    many = 50  # once: fifty times fifty of a long value fill the memory
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(document))
        if not places:
            return copy.deepcopy(draw(_values))
        parent, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(("value", "value", "value", "drop", "double", "wrap", "rename")))
        if change == "drop":
            del parent[key]
        elif change == "double" and isinstance(parent, list):
            times = draw(st.sampled_from((1, 2, many)))
            parent.extend([parent[key]] * times)
            many = many if times < many else 2
        elif change == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8) | st.sampled_from(NAMES))] = parent.pop(key)
        else:
            parent[key] = [parent[key]] if change == "wrap" else copy.deepcopy(draw(_values))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key of it, down to long lists' first items."""
    items = document.items() if isinstance(document, dict) else enumerate(document[:8]) if isinstance(document, list) else ()
    for key, value in items:
        yield document, key
        yield from _places(value)


def as_json(document: Any) -> bytes:
    """As JSON text; what no writer can write is spelt out."""
    return _spelt(json.dumps(document)).encode("utf-8", "surrogatepass")


def as_yaml(document: Any) -> bytes:
    """As YAML text in flow style, whose values are JSON's but for NaN and infinity."""
    text = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=False, sort_keys=False)
    return _spelt(text).encode("utf-8", "surrogatepass")


def _spelt(text: str) -> str:
    for name, spelling in SPELT.items():
        for quoted in (f'"{name}"', f"'{name}'"):
            text = text.replace(quoted, spelling)
    return text


def texts(documents: Sequence[Any], write: Callable[[Any], bytes]) -> SearchStrategy[bytes]:
    """Hostile documents as files."""
    return hostile(documents).map(write)


def json_files(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Hostile JSON from valid JSON."""
    return texts([json.loads(sample) for sample in samples], as_json)


def yaml_files(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Hostile YAML from valid YAML."""
    return texts([yaml.safe_load(sample) for sample in samples], as_yaml)


def parquet_files(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """Hostile Parquet from valid Parquet."""
    return hostile_tables([pq.read_table(io.BytesIO(sample)) for sample in samples])


_columns = st.sampled_from(
    (
        lambda n: pa.array([None] * n),
        lambda n: pa.array(["../../outside"] * n),
        lambda n: pa.array(["x" * 5000] * n),
        lambda n: pa.array([float("nan")] * n),
        lambda n: pa.array([-1] * n, pa.int64()),
        lambda n: pa.array([2**63 - 1] * n, pa.int64()),
        lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda n: pa.array([1e308] * n),
        lambda n: pa.array([b"\xff\x00"] * n, pa.binary()),
        lambda n: pa.array([[]] * n, pa.list_(pa.float64())),
        lambda n: pa.array([[1.0, None]] * n),
        lambda n: pa.array([[[1.0], []]] * n),
        lambda n: pa.array([[[float("inf")] * 17]] * n),
        lambda n: pa.array([[[0.0] * 17] * 300] * n),
        lambda n: pa.array([{"bytes": b"no image", "path": "/outside.png"}] * n),
        lambda n: pa.array([{"path": "../../outside.png"}] * n),
        lambda n: pa.array([True] * n),
        lambda n: pa.array(range(n), pa.timestamp("ns")),
    )
)


@st.composite
def hostile_tables(draw: DrawFn, tables: Sequence[pa.Table]) -> bytes:
    """A Parquet file of a valid table with columns dropped, renamed, doubled, of other types, or with values nobody writes."""
    table = draw(st.sampled_from(tables))
    for _ in range(draw(st.integers(1, 3))):
        if not table.num_columns:
            break
        at, n = draw(st.integers(0, table.num_columns - 1)), table.num_rows
        match draw(st.sampled_from(("column", "column", "column", "drop", "rename", "rows", "name"))):
            case "column":
                table = table.set_column(at, table.column_names[at], draw(_columns)(n))
            case "drop":
                table = table.remove_column(at)
            case "rename":
                names = list(table.column_names)
                names[at] = draw(st.text(max_size=5) | st.sampled_from(names))
                table = table.rename_columns(names)
            case "rows":
                table = table.slice(0, draw(st.sampled_from((0, 1))))
            case _:
                table = _renamed_images(table, draw(st.sampled_from(NAMES)))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=draw(st.sampled_from(("zstd", "none"))))
    return sink.getvalue()


def _renamed_images(table: pa.Table, name: str) -> pa.Table:
    """Names of rows and images that point elsewhere."""
    for column in ("id", "image", "camera", "clip"):
        if column in table.column_names:
            at, values = table.column_names.index(column), [name] * table.num_rows
            if column == "image" and pa.types.is_struct(table.column(at).type):
                values = [{**(v or {}), "path": name} for v in table.column(at).to_pylist()]
            if column != "image" or all(isinstance(v, dict) and isinstance(v.get("bytes"), bytes | None) for v in values):
                table = table.set_column(at, column, pa.array(values))
    return table
