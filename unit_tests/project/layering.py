# SPDX-License-Identifier: Apache-2.0
# Who may include whom: every #include "folder/..." of src/, and every link of src/*/CMakeLists.txt. Neither files nor folders
# (sub-folders count as folders of their own) include each other in a circle.
import collections
import re

import tree

ALLOWED = {
    "base": "",
    "deck": "base",
    "comm": "base",
    "io": "base comm",
    "data": "base comm",
    "arch": "base",
    "kernels": "base",
    "elastic": "base arch kernels",
    "parallel": "base comm kernels",
    "optim": "base kernels comm parallel",
    "layers": "base arch kernels comm elastic parallel",
    "model": "base arch kernels comm elastic parallel layers",
    "config": "base deck arch elastic optim data parallel",
    "state": "base arch kernels comm elastic parallel layers io config deck model optim data",
    "plan": "base arch kernels elastic config deck optim parallel state data",
    "interop": "base io arch elastic",
    "train": "base arch kernels comm elastic parallel layers io config deck model optim data state",
    "run": "base arch kernels comm elastic parallel layers io config deck model optim data state train plan",
    "verbs": "base arch kernels comm elastic parallel layers io config deck model optim data state train plan interop",
}
# Headers of libraries that stay behind one door.
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)
DOORS = {"mpi.h": "comm", "hdf5.h": "io", "dnnl.h": "kernels", "KokkosBlas": "kernels", "cblas.h": "kernels", "cublas": "kernels"}


def check(root):
    for file in tree.sources(root):
        parts = file.relative_to(root / "src").parts
        folder = parts[0] if len(parts) > 1 else "main.cpp"
        name = file.relative_to(root)
        if folder != "main.cpp" and folder not in ALLOWED:
            yield f"{name}:1: folder src/{folder} is not in the table of unit_tests/project/layering.py"
            continue
        text = tree.without_comments(file.read_text())
        for match in INCLUDE.finditer(text):
            yield from check_include(root, folder, f"{name}:{tree.line_of(text, match.start())}", *match.groups())
    yield from check_circles(root)
    for file in tree.files(root, ["src"], ["CMakeLists.txt"]):
        yield from check_links(root, file)


def check_include(root, folder, place, quote, included):
    if quote == "<":
        for header, door in DOORS.items():
            if included.startswith(header) and folder != door:
                yield f"{place}: only src/{door} may include <{included}>"
        return
    target = included.split("/")[0]
    if "/" not in included or target not in ALLOWED:
        yield f'{place}: write #include "folder/file.hpp", not "{included}"'
    elif not any((root / "src" / f"{included}{ending}").exists() for ending in ("", ".in")):
        yield f"{place}: there is no src/{included}"
    elif folder != "main.cpp" and target != folder and target not in ALLOWED[folder].split():
        yield f"{place}: src/{folder} may include {ALLOWED[folder] or 'nothing'}, not {target}"


def check_circles(root):
    files, folders, places = collections.defaultdict(set), collections.defaultdict(set), {}
    for file in tree.sources(root):
        name = file.relative_to(root / "src").as_posix()
        text = tree.without_comments(file.read_text())
        for match in INCLUDE.finditer(text):
            target = match.group(2)
            if match.group(1) == "<" or "/" not in target:
                continue
            files[name].add(target)
            here, there = name.rpartition("/")[0], target.rpartition("/")[0]
            if here != there:
                folders[here].add(there)
                places.setdefault((here, there), f"{name}:{tree.line_of(text, match.start())}")
    for circle in circles(files):
        yield f"src/{circle[0]}:1: files include each other in a circle: {' -> '.join(circle)}"
    for circle in circles(folders):
        where = ", ".join(places[step] for step in zip(circle, circle[1:]))
        yield f"src/{circle[0]}:1: folders include each other in a circle: {' -> '.join(circle)} ({where})"


def circles(graph):
    """One circle [a, b, ..., a] through every edge that closes one in a walk over the graph {node: nodes}."""
    done, path, found = set(), [], []

    def visit(node):
        if node in path:
            found.append(path[path.index(node):] + [node])
        elif node not in done:
            path.append(node)
            for following in sorted(graph.get(node, ())):
                visit(following)
            done.add(path.pop())

    for node in sorted(graph):
        visit(node)
    return found


def check_links(root, file):
    folder = file.parent.name
    if folder not in ALLOWED:
        return
    for line, text in enumerate(file.read_text().splitlines(), 1):
        for target in re.findall(r"\belastic_(\w+)", text.split("#")[0]):
            if target in ALLOWED and target != folder and target not in ALLOWED[folder].split():
                yield f"{file.relative_to(root)}:{line}: elastic_{folder} may not link elastic_{target}"


if __name__ == "__main__":
    tree.main(check)
