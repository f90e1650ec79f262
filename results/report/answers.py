"""Reports of studies: headed by the answer, then load, cost, and what limits.

A study's report is made from the object that its command prints with ``--json``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

from results.errors import ResultsError, replacing
from results.report.answer import Answer
from results.report.html import page
from results.report.plans import plan_answer
from results.report.uncertainty import decision_answer, sensitivity_answer

ANSWERS: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = MappingProxyType(
    {"plan": plan_answer, "sensitivity": sensitivity_answer, "decision": decision_answer}
)
"""By the payload's ``kind``."""


def answer_of(payload: Mapping[str, Any]) -> Answer:
    """The answer of a study from its JSON.

    Raises
    ------
    ResultsError
        It is no study.
    """
    kind = str(payload.get("kind"))
    if kind not in ANSWERS:
        raise ResultsError(f"no study of kind {kind!r}: one of {', '.join(ANSWERS)}")
    return ANSWERS[kind](payload)


def write_answer(answer: Answer, path: str | Path) -> Path:
    """Write the page of a study, atomically.

    Raises
    ------
    ResultsError
        The file cannot be written.
    """
    target = Path(path)
    detail = "".join(f"<p>{escape(line)}.</p>" for line in answer.details)
    parts = [
        f"<h1>{escape(answer.title)}</h1>",
        f'<div class="verdict"><p class="headline">{escape(answer.headline)}.</p>{detail}</div>',
        *answer.sections,
    ]
    content = page(answer.title, parts, plots=True).encode()
    with replacing(target) as file:
        file.write(content)
    return target


def find_answer(names: Sequence[str]) -> Answer | None:
    """The study in a single JSON file, as a command's ``--json`` printed it.

    Raises
    ------
    ResultsError
        The file holds no study.
    """
    if len(names) != 1 or Path(names[0]).suffix != ".json" or not Path(names[0]).is_file():
        return None
    try:
        payload = json.loads(Path(names[0]).read_text("utf-8"))
    except ValueError as error:
        raise ResultsError(f"{names[0]} is not JSON: {error}") from error
    if not isinstance(payload, dict) or payload.get("kind") not in ANSWERS:
        raise ResultsError(
            f"{names[0]} holds no study: corsair-sim plan --json and corsair-sim sensitivity --json"
            " print such files"
        )
    return answer_of(payload)
