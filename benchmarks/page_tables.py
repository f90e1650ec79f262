"""Tables between marks in the pages of docs/studies."""

import re


def with_table(page: str, name: str, lines: str) -> str:
    """The page with other lines between the marks of a table."""
    marks = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.S)
    changed, found = marks.subn(lambda match: f"{match[1]}{lines}\n{match[2]}", page)
    if found != 1:
        raise ValueError(f"the page has {found} tables {name}, not one")
    return changed
