# SPDX-License-Identifier: Apache-2.0
# The documents as a site: it builds strictly, every link in it leads to a file, every #anchor to a place in that file, and a
# link that leads nowhere fails the build. Links to other sites are listed, not followed. Exit code 77 (skipped) without mkdocs, pymdownx
# or KaTeX.
#
#   docs_site.py ROOT
import html.parser
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

ROOT = pathlib.Path(sys.argv[1]).resolve()


class Page(html.parser.HTMLParser):
    def __init__(self, file):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def build(root, site):
    return subprocess.run([root / "scripts/docs_site.sh", site], capture_output=True, text=True)


class Site(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.site = cls.folder / "site"
        done = build(ROOT, cls.site)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        cls.pages = {file: Page(file) for file in cls.site.rglob("*.html") if file.name not in ("404.html", "search.html")}

    def test_every_document_is_a_page(self):
        documents = [f for f in ROOT.rglob("*.md") if not re.search(r"(^|/)(\.[^/]+|build[^/]*|runs|site)/", str(f.relative_to(ROOT)))]
        self.assertGreater(len(documents), 40)
        for document in documents:
            page = self.site / document.relative_to(ROOT).with_suffix(".html")
            self.assertIn(page.with_name("index.html") if document.name == "README.md" else page, self.pages)

    def test_no_block_of_code_is_taken_for_text(self):
        for file in self.pages:
            self.assertNotIn("```", file.read_text(), file)
        self.assertIn("build/elastic.x --version", (self.site / "index.html").read_text())

    def test_formulas_are_kept_for_the_browser_to_draw(self):
        page = (self.site / "doc/equations/ssd.html").read_text()
        self.assertIn("\\[\\Delta_t = \\mathrm{softplus}(m_h\\, \\delta_t + b_h)", page)
        self.assertNotIn("$$", page)
        self.assertIn('left: "\\\\("', (self.site / "katex/render.js").read_text())

    def test_links_lead_to_files_and_anchors_to_places(self):
        nowhere, elsewhere = [], set()
        for file, page in self.pages.items():
            for link in page.links:
                if urllib.parse.urlsplit(link).scheme:
                    elsewhere.add(link)
                    continue
                path, _, place = link.partition("#")
                target = (file.parent / urllib.parse.unquote(path)).resolve() if path else file
                target = target / "index.html" if target.is_dir() else target
                if not target.exists() or place and target in self.pages and urllib.parse.unquote(place) not in self.pages[target].places:
                    nowhere.append(f"{file.relative_to(self.site)}: {link}")
        print(f"{len(self.pages)} pages; links to other sites, not followed:", *sorted(elsewhere), sep="\n  ")
        self.assertEqual("\n".join(nowhere), "")

    def test_a_link_that_leads_nowhere_fails_the_build(self):
        copy = self.folder / "tree"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "build*", "runs", "fixtures", "site"))
        with (copy / "doc/evidence.md").open("a") as file:
            file.write("\n[gone](no_such_page.md)\n")
        done = build(copy, self.folder / "broken")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no_such_page.md", done.stdout + done.stderr)


if __name__ == "__main__":
    if not shutil.which("mkdocs") or not importlib.util.find_spec("pymdownx") or not pathlib.Path("/usr/share/javascript/katex").exists():
        print("skipped: not all of Debian's packages mkdocs, python3-pymdownx and libjs-katex are here")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
