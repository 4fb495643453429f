"""The README and its pages: links lead somewhere, and what they print as Python runs."""
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "data_cards" / "README.md", *sorted((ROOT / "pipelines").rglob("*.md"))]


def anchors(page):
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", page.read_text(), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}"


def test_every_page_is_linked_and_every_picture_shown():
    readme = (ROOT / "README.md").read_text()
    pages = ROOT / "pipelines" / "pages"
    assert all(f"pipelines/pages/{page.name}" in readme for page in pages.glob("*.md"))
    shown = "".join(page.read_text() for page in PAGES)
    assert all(f"pictures/{picture.name}" in shown for picture in (pages / "pictures").iterdir())


def test_the_python_of_the_graph_stage_page_runs(capsys):
    text = (ROOT / "pipelines" / "pages" / "graph_stage.md").read_text()
    names = {}
    torch.manual_seed(0)
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(code, names)
    assert capsys.readouterr().out
    assert len(names["loader"]) == -(-len(names["pairs"]) // 50)
    for one in names["batch"].to_data_list():
        ends = {tuple(edge) for edge in one.n_id[one.edge_index].T.tolist()}
        assert tuple(one.n_id[one.root_index[0]].tolist()) not in ends
    assert {int(y) for batch in names["loader"] for y in batch.y} == {0, 1}
