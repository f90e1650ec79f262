import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from results.errors import ResultsError
from results.provenance import FIELDS, manifest_json, read_manifest, sealed
from results.schema import SCHEMA_VERSION

MakeManifest = Callable[..., dict[str, object]]


def written(folder: Path, content: object) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(content))
    return path


def test_a_manifest_says_what_when_and_by_what(make_manifest: MakeManifest) -> None:
    made = make_manifest()

    assert made["started_utc"] == "2026-01-02T03:04:05+00:00"
    assert made["seconds"] == 1.5
    versions = made["versions"]
    assert isinstance(versions, dict)
    assert (versions["python"], versions["numpy"]) == (platform.python_version(), np.__version__)
    assert set(made) | {"tables"} == set(FIELDS)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, make_manifest: MakeManifest) -> None:
    content = sealed({**make_manifest(), "tables": {}})
    path = tmp_path / "manifest.json"
    path.write_text(manifest_json(content))

    assert read_manifest(path) == content


def test_numpy_scalars_and_arrays_become_plain_json() -> None:
    text = manifest_json({"a": np.int64(3), "b": np.float64(0.5), "c": np.arange(2)})

    assert json.loads(text) == {"a": 3, "b": 0.5, "c": [0, 1]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_manifest_holds_what_json_has_not(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest_json({"a": value})


def test_a_newer_schema_is_refused_with_both_versions(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    path = written(tmp_path, {**make_manifest(), "schema_version": SCHEMA_VERSION + 1})

    with pytest.raises(ResultsError, match=rf"schema {SCHEMA_VERSION + 1}\); this one reads"):
        read_manifest(path)


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(tmp_path: Path, make_manifest: MakeManifest, field: str) -> None:
    content = {**make_manifest(), "tables": {}}
    del content[field]

    with pytest.raises(ResultsError, match=f"lacks '{field}'"):
        read_manifest(written(tmp_path, content))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("run_id", 3, "'run_id' is int, not str"),
        ("model_version", True, "'model_version' is bool, not int"),
        ("seconds", "1", "'seconds' is str, not int or float"),
        ("tables", [], "'tables' is list, not dict"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(
    tmp_path: Path, make_manifest: MakeManifest, field: str, value: object, message: str
) -> None:
    content = {**make_manifest(), "tables": {}, field: value}

    with pytest.raises(ResultsError, match=message):
        read_manifest(written(tmp_path, content))


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_what_is_no_manifest_is_refused_by_file_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ResultsError, match=r"manifest\.json: not a manifest"):
        read_manifest(path)


@pytest.mark.parametrize("change", [{"seconds": 0.5}, {"sha256": None}])
def test_an_altered_manifest_is_refused(
    change: dict[str, object], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    content = {**sealed({**make_manifest(), "tables": {}}), **change}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))

    with pytest.raises(ResultsError, match=r"manifest\.json: damaged or altered"):
        read_manifest(path)
