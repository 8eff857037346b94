# SPDX-License-Identifier: Apache-2.0
# What a kind of layer is, is known to src/arch (which describes it) and src/layers (which computes it) alone: nobody else
# names a kind, compares its symbol, or knows its tensors by name.
import re

import tree

KNOWS = ("arch", "layers")
TENSOR = re.compile(r'\{"([\w.]+)",\s*\w+,\s*\w+,\s*\w+,')  # a line of LayerDescription::tensors
COMPARED = re.compile(r"""(?:\b(?:kind|symbol)(?:\(\))?\s*[!=]=\s*'.'|'.'\s*[!=]=\s*\w*[.>]?(?:kind|symbol)\b|case\s*'[M*-]')""")
COMMON = {"D", "norm.weight"}  # stand elsewhere for other things


def tensor_names(root):
    names = set()
    for file in tree.files(root, ["src/arch"], ["_kind.cpp"]):
        names.update(TENSOR.findall(tree.without_comments(file.read_text())))
    return names - COMMON


def check(root):
    names = tensor_names(root)
    if not names:
        yield "src/arch:1: no list of tensors found"
        return
    # A name as a whole, or the last part of it: "A_log", ".o_proj", "mixer.in_proj.x".
    named = re.compile(r'"(?:[^"\n]*[.\s])?(' + "|".join(map(re.escape, sorted(names))) + r')"')
    for file in tree.sources(root):
        parts = file.relative_to(root / "src").parts
        if parts[0] in KNOWS:
            continue
        text = tree.without_comments(file.read_text())
        rules = [(re.compile(r"\bLayerKind\b"), "names LayerKind"), (COMPARED, "compares the symbol of a kind")]
        if parts[0] != "kernels":  # their arguments are called like the tensors that they get
            rules.append((named, "knows a tensor of a kind by name"))
        for pattern, what in rules:
            for match in pattern.finditer(text):
                yield (f"{file.relative_to(root)}:{tree.line_of(text, match.start())}: {what}; "
                       "ask the description of the layer (src/arch/layer_kind.hpp)")


if __name__ == "__main__":
    tree.main(check)
