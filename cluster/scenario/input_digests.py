"""Digests of a run's input files, for its manifest."""

from collections.abc import Callable, Iterator
from hashlib import file_digest
from pathlib import Path

from cluster.scenario.operations import chakra_folder
from cluster.scenario.schema import Scenario


def described(use: str, path: Path) -> dict[str, object]:
    """Use, name, sha256 and bytes of a file; of a model's folder, its config."""
    file = path / "config.json" if path.is_dir() else path
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    return {"use": use, "name": file.name, "sha256": digest, "bytes": file.stat().st_size}


def input_files(
    scenario: Scenario, describe: Callable[[str, Path], dict[str, object]]
) -> Iterator[dict[str, object]]:
    """Describe every file that a scenario is read from; what is bundled is none."""
    for use, path in _named(scenario):
        if path.exists():
            yield describe(use, path)


def _of_drafts(scenario: Scenario) -> Iterator[tuple[str, str | None]]:
    """What speculative decoding names."""
    drafts = scenario.speculative
    if drafts is None:
        return
    yield "draft model", drafts.model
    if drafts.draft_on is not None:
        yield "draft hardware", drafts.draft_on.hardware
    if drafts.acceptance.measured is not None:
        yield "acceptance", drafts.acceptance.measured.file


def _named(scenario: Scenario) -> Iterator[tuple[str, Path]]:
    """What the scenario names that may be a file or a folder."""
    workload, synthetic = scenario.workload, scenario.workload.synthetic
    lengths = (synthetic.prompt_tokens, synthetic.output_tokens) if synthetic else (None, None)
    traces = [length.empirical.trace if length and length.empirical else None for length in lengths]
    program = workload.program if isinstance(workload.program, str) else None
    hardware = {} if scenario.network else {scenario.hardware: None}
    for _, pool in scenario.pools or ():
        hardware |= {pool.hardware or scenario.hardware: None}
    for use, name in (
        *(("hardware", name) for name in hardware),
        ("network", scenario.network),
        ("model", scenario.model),
        *_of_drafts(scenario),
        ("trace", workload.trace),
        *zip(("prompt_tokens", "output_tokens"), traces, strict=True),
        ("program", program),
    ):
        if name is not None:
            yield use, Path(name)
    if workload.chakra is not None:
        requested = chakra_folder(scenario)
        files = sorted(file for file in Path(requested.folder).iterdir() if file.is_file())
        groups = [Path(requested.groups)] if requested.groups else []
        yield from (("chakra", file) for file in (*files, *groups))
