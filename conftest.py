"""Examples in docstrings run in a folder of their own: some of them leave results there."""

import pytest


@pytest.fixture(autouse=True)
def _folder_of_the_example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
