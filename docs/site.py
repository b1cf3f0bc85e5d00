"""README and its neighbours go in; pages of the site come out, with links that lead to pages where there are any.

mkdocs calls this (`hooks` of mkdocs.yml): every document stays where people look for it, and is on the site too.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md"} | {
    name: name.lower() for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
}
"""Documents beside docs/, and what each is called on the site."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def moved(text: str, page: str) -> str:
    """The text of a document with its links made for the site. page: its path in the repository."""

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link[1]))
        return PAGES.get(path, path.removeprefix("docs/"))

    return LINK.sub(target, text)


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents that are beside docs/."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The links of a page of docs/."""
    return markdown if page.file.generated_by else moved(markdown, f"docs/{page.file.src_uri}")
