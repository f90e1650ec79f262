"""Bundled YAML files are parsed once, and read the same afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from topology import parsed_files
from topology.parsed_files import bundled_document
from topology.strict_yaml import Document, DocumentError, parse_document

TEXT = "name: card\nfigures:\n  clock: {value: 1.2, unit: GHz}\n  ports: [1, ~, .inf, text]\n"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setattr(parsed_files, "cache_roots", lambda: iter([tmp_path / "kept"]))
    parsed_files._folder.cache_clear()
    yield tmp_path / "kept" / "parsed"
    parsed_files._folder.cache_clear()


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was parsed."""
    names: list[str] = []

    def parse(text: str, name: str) -> Document:
        names.append(name)
        return parse_document(text, name)

    monkeypatch.setattr(parsed_files, "parse_document", parse)
    return names


def test_a_file_is_parsed_once_and_keeps_its_values_lines_and_name(
    kept: Path, parses: list[str]
) -> None:
    first, again = bundled_document(TEXT, "a.yaml"), bundled_document(TEXT, "b.yaml")

    assert parses == ["a.yaml"]
    assert len(list(kept.iterdir())) == 1
    assert first == parse_document(TEXT, "a.yaml")
    assert again == parse_document(TEXT, "b.yaml")
    assert again.where(("figures", "ports")) == "b.yaml:4"


def test_an_edited_file_and_a_damaged_copy_are_parsed_again(kept: Path, parses: list[str]) -> None:
    bundled_document(TEXT, "a.yaml")
    (copy,) = kept.iterdir()
    copy.write_bytes(copy.read_bytes()[:-1])

    assert bundled_document(TEXT, "a.yaml").data["name"] == "card"
    assert bundled_document(TEXT.replace("card", "other"), "a.yaml").data["name"] == "other"
    assert len(parses) == 3


def test_without_a_folder_files_are_parsed_and_errors_are_as_ever(
    monkeypatch: pytest.MonkeyPatch, parses: list[str]
) -> None:
    monkeypatch.setattr(parsed_files, "_folder", lambda: None)

    assert bundled_document(TEXT, "a.yaml") == bundled_document(TEXT, "a.yaml")
    with pytest.raises(DocumentError, match=r"a\.yaml:2"):
        bundled_document("a: 1\na: 2\n", "a.yaml")
    assert len(parses) == 3
