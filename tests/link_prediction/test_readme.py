"""The README's loader of pair subgraphs, as printed there."""
import re
from pathlib import Path

import torch

from mprd_pyg.graph import PairSubgraphs


def test_the_loader_of_the_readme(capsys):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    last = next(number for number, code in enumerate(blocks) if "import DataLoader" in code)
    names = {"PairSubgraphs": PairSubgraphs, "torch": torch}
    torch.manual_seed(0)
    exec(blocks[last - 1], names)
    exec(blocks[last], names)
    assert len(names["loader"]) == -(-len(names["pairs"]) // 50) and capsys.readouterr().out
    for one in names["batch"].to_data_list():
        ends = {tuple(edge) for edge in one.n_id[one.edge_index].T.tolist()}
        assert tuple(one.n_id[one.root_index[0]].tolist()) not in ends
    assert {int(y) for batch in names["loader"] for y in batch.y} == {0, 1}
