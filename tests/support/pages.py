"""The pages of the documentation as tests read them: code blocks, commands in them, headings and links."""

from __future__ import annotations

import re
import shlex
import unicodedata
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(`{3,})(\w*)([^\n`]*)\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """A code block.

    Attributes:
        page: its file.
        line: of its fence, from 1.
        language: ``sh``, ``toml``, ``python``, ...
        marks: the words behind it, e.g. ``long``: too long or too large to run here, checked only.
        title: name of the file that it holds; empty where it is none.
        text: what it holds.
    """

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    title: str
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self):
        """``(settings, words)`` of every command: environment variables in front of it, and the command's words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = []
        for line in lines:
            for part in re.split(r"\s&&\s", line):
                words = shlex.split(part, comments=True)
                settings = []
                while words and re.match(r"[A-Z_]+=", words[0]):
                    settings.append(words.pop(0))
                if words:
                    found.append((tuple(settings), words))
        return found


def pages():
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    """The code blocks of a page, in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in _FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match.group(3))
        marks = re.sub(r'\w+="[^"]*"', "", match.group(3)).split()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match.group(2), tuple(marks), title.group(1) if title else "", match.group(4)))
    return found


def anchors(text):
    """What may stand behind a # in a link to a page."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {_slug(re.sub(r"[`*]", "", heading)) for heading in headings}


def _slug(heading):
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def links(text):
    """Where a page's links and images lead, those to elsewhere left out."""
    every = re.findall(r"(?<!\\)\]\(([^)\s]+)\)", _FENCE.sub("", text))
    return [link for link in every if not re.match(r"[a-z]+:", link)]
