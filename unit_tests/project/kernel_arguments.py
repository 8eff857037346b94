# SPDX-License-Identifier: Apache-2.0
# No function declared in a header of src/kernels takes more than 8 arguments: what belongs together goes into a struct.
import re

import tree

LIMIT = 8
OPENING = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
NO_FUNCTION = {"if", "for", "while", "switch", "return", "sizeof", "decltype", "requires", "static_assert"}


def declared(text):
    """(position, name, number of arguments) of everything that looks like a call or a declaration."""
    for match in OPENING.finditer(text):
        if match.group(1) in NO_FUNCTION:
            continue
        depth, angles, commas, i = 0, 0, 0, match.end() - 1
        while i < len(text):
            if text[i] in "([{":
                depth += 1
            elif text[i] in ")]}":
                depth -= 1
                if depth == 0:
                    break
            elif depth == 1 and text[i] == "<":
                angles += 1
            elif depth == 1 and text[i] == ">" and text[i - 1] != "-":
                angles -= 1
            elif depth == 1 and angles <= 0 and text[i] == ",":
                commas += 1
            i += 1
        empty = not text[match.end():i].strip()
        yield match.start(), match.group(1), 0 if empty else commas + 1


def check(root):
    for file in tree.files(root, ["src/kernels"], [".hpp"]):
        text = tree.without_comments(file.read_text())
        for position, name, count in declared(text):
            if count > LIMIT:
                yield f"{file.relative_to(root)}:{tree.line_of(text, position)}: {name} takes {count} arguments, at most {LIMIT}"


if __name__ == "__main__":
    tree.main(check)
