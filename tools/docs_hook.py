"""mkdocs: adds the generated reference to the site, and reads the marks that tests look for in code blocks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File


def on_startup(**_):
    """mkdocs puts the path back after it has read this file."""
    sys.path.insert(0, str(Path(__file__).parent))


def on_files(files, config):
    """The pages of ``tools/reference``."""
    from reference import pages
    from restore.plugins import registry

    for path, text in pages(registry()).items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, **_):
    """```` ```sh long ````: the second word is for the tests; highlighting knows the first alone."""
    from reference import house

    markdown = markdown.replace("<!-- floors -->", house.floors())
    return re.sub(r"^(\s*`{3,}\w+) +(?:long|fragment|pyproject)\b", r"\1", markdown, flags=re.MULTILINE)
