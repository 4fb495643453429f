"""PairExplorer in JupyterLab in a real browser: filter, walk, say, reload, and what was said is still there.

Skipped where JupyterLab, Playwright or a Chromium is missing. ``CHROMIUM`` names a browser that is not on the path, and
``EXPLORER_SCREENSHOT`` a file for a picture.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from mprd_pyg.relations import read_statements

for package in ("jupyterlab", "ipykernel", "anywidget"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install jupyterlab 'mprd-pyg[explorer]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, (
    "chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None:
    pytest.skip("no Chromium is on the path: install one, or name it in CHROMIUM", allow_module_level=True)

CODE = "from pipelines.explorer import PairExplorer\nexplorer = PairExplorer({folder!r})\nexplorer"


@pytest.fixture
def lab(small_run, tmp_path_factory):
    """A running JupyterLab with one notebook about a run: its address and the run folder."""
    import nbformat
    home, folder = tmp_path_factory.mktemp("lab"), small_run
    cells = [nbformat.v4.new_code_cell(CODE.format(folder=str(folder))), nbformat.v4.new_markdown_cell("the end")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), home / "explorer.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"),
                                "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython"),
                                "PYTHONPATH": os.pathsep.join(sys.path)}
    with open(home / "log", "w") as log, subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={home}"],
            stdout=log, stderr=log, env=environment) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (home / "log").read_text()
                    time.sleep(0.5)
            yield f"{address}/lab/tree/explorer.ipynb", folder
        finally:
            server.terminate()


@pytest.fixture
def page():
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(240_000)
        playwright.expect.set_options(timeout=60_000)
        yield page
        browser.close()


def open_explorer(page, address):
    page.goto(address)
    for _ in range(8):  # a cell that is run before the kernel is there is forgotten
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        try:
            page.locator(".pair-explorer .item").first.wait_for(timeout=30_000)
            break
        except playwright.TimeoutError:
            continue
    return page.locator(".pair-explorer")


def test_filter_walk_say_reload(lab, page):
    address, folder = lab
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    explorer = open_explorer(page, address)
    expect = playwright.expect
    expect(explorer.locator(".stage svg .node.root")).to_have_count(2)
    if os.environ.get("EXPLORER_SCREENSHOT"):
        explorer.screenshot(path=os.environ["EXPLORER_SCREENSHOT"])

    # filter
    every = explorer.locator(".list p").inner_text()
    explorer.locator("select[name=order]").select_option("most likely")
    explorer.locator("select[name=truth]").select_option("false")
    expect(explorer.locator(".item .right")).to_have_count(0)
    explorer.locator("select[name=cameras]").select_option("across")
    expect(explorer.locator(".item .words small", has_text="cameras").first).to_be_visible()
    expect(explorer.locator(".item .words small").filter(has_text=re.compile(r"camera \d"))).to_have_count(0)
    explorer.locator("input[name=likelihood_1]").fill("0.5")
    explorer.locator("input[name=likelihood_1]").press("Tab")
    page.wait_for_function("() => [...document.querySelectorAll('.pair-explorer .item b')]"
                           ".every((likelihood) => Number(likelihood.textContent) <= 0.5)")
    explorer.locator("select[name=truth]").select_option("any")
    explorer.locator("select[name=cameras]").select_option("any")
    explorer.locator("input[name=likelihood_1]").fill("1")
    explorer.locator("input[name=likelihood_1]").press("Tab")
    explorer.locator("select[name=order]").select_option("most informative")
    expect(explorer.locator(".list p")).to_have_text(every)

    # walk, and back
    expect(explorer.locator(".item.current")).to_have_count(1)
    roots = explorer.locator(".node.root")
    start = [roots.nth(number).get_attribute("data-row") for number in (0, 1)]
    row = explorer.locator(".node:not(.root)").first.get_attribute("data-row")
    explorer.locator(".node:not(.root)").first.click()
    expect(explorer.locator(f".node.root[data-row='{row}']")).to_have_count(1)
    page.keyboard.press("b")
    for number in (0, 1):
        expect(roots.nth(number)).to_have_attribute("data-row", start[number])

    # say: a button, then keys, one of which would delete the cell if the notebook saw it twice
    explorer.locator("[data-say=same]").click()
    expect(explorer.locator(".said .same")).to_have_text("1 same")
    for number in (1, 2):
        page.keyboard.press("d")
        expect(explorer.locator(".said .different")).to_have_text(f"{number} different")
    page.keyboard.press("u")
    expect(explorer.locator(".said .unsure")).to_have_text("1 unsure")
    assert page.locator(".jp-CodeCell").count() == 1 and page.locator(".jp-MarkdownCell").count() == 1
    said = read_statements(folder / "constraints.csv")
    assert [one.verdict for one in said] == ["same", "different", "different", "unsure"]

    # reload the page and run the cell again
    page.reload()
    explorer = open_explorer(page, address)
    for word, count in (("same", 1), ("different", 2), ("unsure", 1)):
        expect(explorer.locator(f".said .{word}")).to_have_text(f"{count} {word}")
    explorer.locator("select[name=order]").select_option("most likely")
    assert not errors
