"""Records of every form of JSON, against what `json` says; what is none is named by line and byte."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.tools.preview.depth import DEEPEST, Depth
from kalshi_platform.tools.preview.records import BadJson, records, shape_of
from kalshi_platform.tools.preview.sources import open_source


def _all(folder: Path, content: bytes, *path: str) -> list[Any]:
    (folder / "x.json").write_bytes(content)
    opener = partial(open_source, str(folder / "x.json"))
    return list(records(opener, "x.json", shape_of(opener, "x.json", path)))


@pytest.mark.parametrize(
    ("content", "path", "expected"),
    [
        (b'[{"a": 1}, {"a": 2}]', [], [{"a": 1}, {"a": 2}]),
        (b"\xef\xbb\xbf [1, 2]\n\n", [], [1, 2]),
        (b"[]", [], []),
        (b'{"a": 1}\n{"a": [2]}\n\n{"a": 3}', [], [{"a": 1}, {"a": [2]}, {"a": 3}]),
        (b"[1]\n[2]\n", [], [[1], [2]]),
        (b'{"a": 1}\n', [], [{"a": 1}]),
        (b'1\n"b"\n', [], [1, "b"]),
        (b'{"cursor": "c", "markets": [{"t": 1}, {"t": 2}]}', [], [{"t": 1}, {"t": 2}]),
        (b'{\n"event": {"x": [9]},\n"markets": [3]}', [], [3]),
        (b'{"a": {"b": [1, 2]}, "c": [3]}', ["a", "b"], [1, 2]),
        (b'{"a": {"b": {"x": 1, "y": {"z": 2}}}}', ["a"], [{"key": "b", "value": {"x": 1, "y": {"z": 2}}}]),
        (b'{\n"a": {"b": 1},\n"c": 2}', [], [{"key": "a", "value": {"b": 1}}, {"key": "c", "value": 2}]),
    ],
)  # fmt: skip
def test_each_form(tmp_path: Path, content: bytes, path: list[str], expected: list[Any]) -> None:
    """Lines, arrays, the exchange's answers, and what a path leads to."""
    assert _all(tmp_path, content, *path) == expected


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "is empty"),
        (b"[1, 2", "line 1, byte 5"),
        (b"[1,\n2,\n]", "line 3, byte 7"),
        (b'[{"a": 1},\n{"a" 2}]', "line 2, byte 17"),
        (b'[1, tru]', "line 1, byte 7"),
        (b'["a\nb"]', "line 1, byte 3"),
        (b"[1] 2", "line 1, byte 5"),
        (b'{"a": 1}\n{"a": }\n', "line 2, byte 15"),
        (b'{"a": 1}\n{"a": 2', "line 2, byte 16"),
        (b"not json\n", "line 1, byte 4"),
        (b'{"a": [1, 2,,]}', "line 1, byte 12"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_named(tmp_path: Path, content: bytes, place: str) -> None:
    """Line from 1 and byte from 0, of the unpacked data; a number or word is known by the byte behind it."""
    with pytest.raises(BadJson, match=place):
        _all(tmp_path, content)


def test_a_mistake_far_inside_is_found_to_the_byte(tmp_path: Path) -> None:
    """Behind many pieces of equal text, where no context tells one place from another."""
    element = b'{"ticker": "KXSAME", "size": 12.50},\n'
    content = b"[" + element * 20_000 + b'{"ticker": KXSAME}' + b"," + element * 20_000
    with pytest.raises(BadJson, match=f"line 20,001, byte {1 + 20_000 * len(element) + 11:,}:"):
        _all(tmp_path, content)


@pytest.mark.parametrize(
    ("before", "after"), [("[", "]"), ('[{"a":[', "]}]"), ('{"a":', "}"), ('{"a":1}\n', ""), ("[1]\n[", "]")]
)
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('["[",{"\\\\":', "}]"), ("[", "")])
def test_what_nests_too_deep_is_refused(tmp_path: Path, before: str, after: str, begin: str, end: str) -> None:
    """In plain words and at once: parsers recurse, or take for ever; half as deep is shown."""
    with pytest.raises(ConfigurationError, match=f"more than {DEEPEST} deep, between bytes"):
        _all(tmp_path, f"{before}{begin * 3000}1{end * 3000}{after}".encode())
    if end:
        deep = f"{begin * (DEEPEST // 3)}1{end * (DEEPEST // 3)}"
        assert json.dumps(_all(tmp_path, f"[0, {deep}]".encode())) == json.dumps([0, json.loads(deep)])


@given(
    st.recursive(st.text(alphabet='[]{}"\\a\n'), lambda one: st.lists(one) | st.dictionaries(st.text(), one)), st.data()
)
def test_depth_is_the_same_wherever_it_is_cut(value: Any, data: st.DataObject) -> None:
    """Whatever texts hold."""

    def deep(one: Any) -> int:
        below = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if below is None else 1 + max(map(deep, below), default=0)

    text = json.dumps(value).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    depth = Depth()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert max(depth.follow(piece) for piece in pieces) == deep(value)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    """The source is fine, the path is not."""
    with pytest.raises(ConfigurationError, match="no array or object at --path a"):
        _all(tmp_path, b'{"a": {"b": 1}}', "a", "c")


Factory = pytest.TempPathFactory

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(_values, max_size=6), indent=st.none() | st.integers(0, 2))
def test_arrays_are_what_json_says(tmp_path_factory: Factory, rows: list[Any], indent: int | None) -> None:
    """Whatever they hold and however they are written."""
    if indent is not None or len(rows) != 1:
        content = json.dumps(rows, indent=indent).encode()
        assert _all(tmp_path_factory.getbasetemp(), content) == rows
