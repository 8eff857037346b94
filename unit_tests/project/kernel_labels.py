# SPDX-License-Identifier: Apache-2.0
# Every kernel, allocation, fence and region that Kokkos knows by name has a name that starts with elastic::.
# This is the check of the text; test_kokkos_tools.cpp looks at what Kokkos is told at run time.
import re

import tree

KERNEL = re.compile(r"\bparallel_(?:for|reduce|scan)\s*\(")
# Names given to Kokkos as first literal: View<T>("...", View<T> x("...", pushRegion("...", fence("...".
VIEW = re.compile(r"\b(?:Host)?View[0-9]?\s*<[^;(){}]*>\s*\w*\s*[({]\s*(?=\")")
OTHER = re.compile(r"\b(?:pushRegion|Kokkos::fence)\s*\(\s*(?=\")|\bfence\s*\([^();]*(?:\(\))?,\s*(?=\")")
VIEW_ALLOC = re.compile(r"\bview_alloc\s*\(")
# Loops inside a kernel have a range of the team as first argument, and no name.
NESTED = re.compile(r"(?:Kokkos::)?(?:Team|Thread)\w*Range\b|\w+\(\s*team\b")


def arguments(text, opening):
    """The arguments of the call whose parenthesis opens at `opening`, split at the commas of the outer level."""
    result, depth, start, i = [], 0, opening + 1, opening
    while i < len(text):
        if text[i] == '"':
            i += re.match(r'"(?:\\.|[^"\\])*"', text[i:], re.S).end() - 1
        elif text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
            if depth == 0:
                return result + [text[start:i].strip()]
        elif text[i] == "," and depth == 1:
            result.append(text[start:i].strip())
            start = i + 1
        i += 1
    return result


def check(root):
    for file in tree.sources(root):
        text = tree.without_comments(file.read_text())

        def problem(position, message):
            return f"{file.relative_to(root)}:{tree.line_of(text, position)}: {message}"

        for match in KERNEL.finditer(text):
            first = arguments(text, match.end() - 1)[0]
            # A name handed on from the caller is called `label`; the run-time check sees what it was.
            if not (first.startswith('"elastic::') or first == "label" or NESTED.match(first)):
                yield problem(match.start(), f'the first argument of {match.group()[:-1]} is not "elastic::...": {first[:50]}')
        for match in VIEW_ALLOC.finditer(text):
            given = arguments(text, match.end() - 1)
            if not any(a.startswith('"elastic::') or a == "label" for a in given):
                yield problem(match.start(), "view_alloc without a name that starts with elastic::")
        for pattern in (VIEW, OTHER):
            for match in pattern.finditer(text):
                if not text.startswith('"elastic::', match.end()):
                    yield problem(match.start(), f"a name that does not start with elastic::: {text[match.end():][:30]}")


if __name__ == "__main__":
    tree.main(check)
