import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.strict_yaml import DocumentError, parse_document, read_document


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    text = (
        "{a: 1e9, b: 0x10, c: 0o17, d: yes, e: null, f: true, g: '1', h: 1.5, i: 012, j: 2024-1-1}"
    )

    assert parse_document(text).data == {
        "a": 1e9, "b": 16, "c": 15, "d": "yes", "e": None, "f": True, "g": "1", "h": 1.5, "i": 12,
        "j": "2024-1-1",
    }  # fmt: skip


def test_nan_and_infinity_are_read_as_numbers() -> None:
    data = parse_document("{a: .nan, b: -.inf}").data

    assert math.isnan(data["a"])
    assert data["b"] == -math.inf


def test_every_key_and_item_has_its_line() -> None:
    document = parse_document("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "s.yaml")

    assert document.line_of(("a", "b")) == 2
    assert document.line_of(("a", "c", 1, "y")) == 5
    assert document.line_of(("a", "c", 0)) == 4
    assert document.line_of(("a", "missing", "deeper")) == 1
    assert document.where(("a", "c")) == "s.yaml:3"


def test_characters_that_json_escapes_in_two_halves_are_read_whole() -> None:
    assert parse_document('{"a": "\\ud83c\\udca1 \\u00e9"}').data == {"a": "\U0001f0a1 \u00e9"}
    with pytest.raises(DocumentError, match=r"x.yaml:2: \\ud83c is half of a character"):
        parse_document('a: 1\nb: "\\ud83c"\n', "x.yaml")


def test_a_duplicate_key_names_both_lines() -> None:
    with pytest.raises(DocumentError, match=r"s\.yaml:3: 'a' is a duplicate key: first in line 1"):
        parse_document("a: 1\nb: 2\na: 3\n", "s.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n---\nb: 2\n", "s.yaml:2: a second document"),
        ("a: [1, 2\nb: 3\n", r"s\.yaml:\d: not YAML"),
        ("a: \x00\n", "s.yaml: not YAML"),
        ("a: !!python/object:os.system x\n", "s.yaml:1: the tag"),
        ("a: &x [1, *x]\n", r"s\.yaml:1: the alias \*x has no finished anchor"),
        ("a: 1\n? [b, c]\n: 2\n", "s.yaml:2: a key must be a plain word"),
        ("a: " + "9" * 5000, "an integer of 5000 digits"),
        ("[" * 100 + "]" * 100, "nested more than 60 levels"),
    ],
)
def test_what_is_not_one_plain_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        parse_document(text, "s.yaml")


def test_an_alias_is_a_copy_of_its_anchor() -> None:
    data = parse_document("a: &x {v: [1]}\nb: *x\n").data
    data["a"]["v"].append(2)

    assert data["b"] == {"v": [1]}


def test_a_bomb_of_aliases_is_refused_before_it_expands() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    with pytest.raises(DocumentError, match="more than 200,000 values once aliases are expanded"):
        parse_document("\n".join(lines))


def test_an_empty_document_is_none_and_not_a_mapping() -> None:
    document = parse_document("# only a comment\n", "s.yaml")

    assert document.data is None
    with pytest.raises(DocumentError, match=r"s\.yaml:1: expected keys with values, found nothing"):
        document.mapping()


def test_a_missing_file_a_folder_and_bytes_are_one_clear_error_each(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xff\n")

    with pytest.raises(DocumentError, match=r"none\.yaml: no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match="cannot be read"):
        read_document(tmp_path)
    with pytest.raises(DocumentError, match=r"latin.yaml:2: not UTF-8 text \(byte 0xff\)"):
        read_document(tmp_path / "latin.yaml")


@given(st.text(alphabet="ab:- \n[]{}*&!?'\"|>%#,\t\x00"))
def test_any_text_is_either_data_or_one_error_that_names_the_file(text: str) -> None:
    message = "s.yaml"
    try:
        parse_document(text, "s.yaml")
    except DocumentError as error:
        message = str(error)

    assert message.startswith("s.yaml")
