"""How the documents become pages of the site: links between them lead to pages, and every page is in the menu."""

import importlib.util
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("kato_site", ROOT / "docs" / "site.py")
assert spec is not None and spec.loader is not None
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)


@pytest.mark.parametrize(
    ("page", "link", "leads"),
    [
        ("README.md", "docs/compose.md", "compose.md"),
        ("README.md", "docs/compose.md#x-kato", "compose.md#x-kato"),
        ("README.md", "ARCHITECTURE.md", "architecture.md"),
        ("docs/promises.md", "performance.md", "performance.md"),
        ("docs/promises.md", "../README.md", "index.md"),
        ("docs/observability.md", "observability/alerts.yml", "observability/alerts.yml"),
        ("docs/api.md", "#events", "#events"),
        ("docs/api.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
    ],
)
def test_a_link_leads_to_the_page_of_the_site(page: str, link: str, leads: str) -> None:
    assert site.moved(f"See [that]({link}), now.", page) == f"See [that]({leads}), now."


def test_every_document_is_in_the_menu() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages(each)]  # type: ignore[attr-defined]

    menu = pages(YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = {path.name for path in (ROOT / "docs").glob("*.md")} | set(site.PAGES.values())
    assert sorted(menu) == sorted(written)
