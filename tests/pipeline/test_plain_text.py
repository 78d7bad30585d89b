from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.plain_text import LARGEST_YAML_BYTES, json_of, table_of, yaml_of, yaml_value

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases unfold to more than"),
        ("a: &a [*a]", "aliases unfold to more than"),
        ("{" * 5000, "nested deeper"),
        ("- " * 5000, "RecursionError|maximum recursion depth"),
        ("x: 0x" + "f" * 5000, "a number of more than"),
        ("x: " + "9" * 5000, "not readable as YAML"),
        ("x: " + "9:" * 5000 + "9", "a number of more than"),
        ("x: 2026-99-99", "month must be in"),
        ("x: !!int y", "not readable as YAML"),
        ("x: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("{[a]: b}", "not readable as YAML"),
        ("x: \x00", "not readable as YAML"),
        ("x" * (LARGEST_YAML_BYTES + 1), "at most 1 MiB"),
    ],
)
def test_yaml_that_no_person_wrote_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        yaml_value(text, "session.yaml")
    assert str(caught.value).startswith("session.yaml: ") and len(str(caught.value)) < 500


def test_a_few_aliases_are_fine() -> None:
    assert yaml_value("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}", "x") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff", b"{", b""])
def test_json_that_no_tool_wrote_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: "):
        json_of(tmp_path / "a.json")
    assert table_of(tmp_path / "a.json") == {}


def test_a_table_of_ours_is_an_object(tmp_path: Path) -> None:
    assert table_of(tmp_path / "none.json") == {}
    for text, told in (("[1]", {}), ('{"a": 1}', {"a": 1})):
        (tmp_path / "a.json").write_text(text)
        assert table_of(tmp_path / "a.json") == told


def test_a_file_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        yaml_of(tmp_path / "session.yaml")
    (tmp_path / "session.yaml").write_bytes(b"name: \xff")
    with pytest.raises(InputError, match="UTF-8, found 0xff at byte 6"):
        yaml_of(tmp_path / "session.yaml")
