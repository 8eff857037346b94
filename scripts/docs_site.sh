#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The documents as a site of static pages, built strictly. Needs Debian's packages mkdocs (1.4), python3-pymdownx, libjs-katex.
#
#   scripts/docs_site.sh [FOLDER]        FOLDER/index.html; without one: site/
#
# Every .md file of the tree goes in, and what they link or show; nothing is copied into the tree itself.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in
  -h | --help) sed -n '3,7s/^# \{0,1\}//p' scripts/docs_site.sh; exit 0 ;;
  -*) echo "docs_site: $1: expected a folder" >&2; exit 1 ;;
esac
katex=/usr/share/javascript/katex
if ! command -v mkdocs >/dev/null || ! python -c 'import pymdownx' 2>/dev/null || [[ ! -d $katex ]]; then
  echo "docs_site: not all of mkdocs, pymdownx and KaTeX are there; on Debian: scripts/setup.sh mkdocs python3-pymdownx libjs-katex" >&2
  exit 1
fi
site=$(mkdir -p "${1:-site}" && cd "${1:-site}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp mkdocs.yml "$scratch/"
mkdir "$scratch/docs"
cp -rL "$katex" "$scratch/docs/katex" # formulas are drawn by the reader's browser, from files of the site alone
echo 'renderMathInElement(document.body, {delimiters: [{left: "\\(", right: "\\)", display: false},
  {left: "\\[", right: "\\]", display: true}]});' >"$scratch/docs/katex/render.js"
# Documents, and the files that links and pictures in them name.
python - "$scratch/docs" <<'PYTHON'
import pathlib, re, shutil, sys
target = pathlib.Path(sys.argv[1])
skipped = re.compile(r"(^|/)(\.[^/]+|build[^/]*|runs|site|__pycache__)(/|$)")
documents = [f for f in pathlib.Path(".").rglob("*.md") if not skipped.search(str(f))]
files = set(documents)
for document in documents:
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        file = document.parent / link
        if "://" not in link and file.is_file():
            files.add(pathlib.Path(shutil.os.path.relpath(file)))
for file in files:
    (target / file).parent.mkdir(parents=True, exist_ok=True)
    if file in documents:  # "run" is for the test that runs such blocks
        (target / file).write_text(re.sub(r"^```sh run$", "```sh", file.read_text(), flags=re.M))
    else:
        shutil.copyfile(file, target / file)
print(f"{len(documents)} documents and {len(files) - len(documents)} files that they link")
PYTHON
mkdocs build --strict --clean --config-file "$scratch/mkdocs.yml" --site-dir "$site" 2>"$scratch/said" ||
  { grep -v '^INFO' "$scratch/said" >&2; exit 1; }
echo "site: $site/index.html"
