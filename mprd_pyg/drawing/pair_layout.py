"""Where the nodes of a pair subgraph go in a picture: two fans and a middle column, without overlaps."""
from dataclasses import dataclass

import numpy as np

ROOT = 1.9      # size of a root's tile, in ordinary tiles
GAP = 0.3       # between tiles of a column
COLUMN = 1.75   # from column to column
CLEAR = 1.8     # free for edges between a root and the nearest column
BEND = 0.6      # how far the ends of a fan's columns lean towards its root
MARGIN = 0.35


@dataclass(frozen=True)
class PairLayout:
    """A picture's geometry, in widths of an ordinary tile; y goes up.

    Args:
        centre: (n, 2) x and y of each node's tile; NaN for nodes that are left out.
        size: (n, 2) width and height of each tile.
        more: x, y and number of the nodes left out, for every group that has some.
        extent: width and height of the picture, whose lower left corner is (0, 0).
        clear: free width beside a root.
    """

    centre: np.ndarray
    size: np.ndarray
    more: list[tuple[float, float, int]]
    extent: tuple[float, float]
    clear: float = CLEAR - BEND


def sides(edge_index: np.ndarray, roots: tuple[int, int], num_nodes: int) -> np.ndarray:
    """(n,) which root a node is nearer to over the edges (2, E): -1 the first, 1 the second, 0 both; roots -2 and 2."""
    distance = np.full((2, num_nodes), num_nodes + 1)
    for row, root, other in zip(distance, roots, roots[::-1], strict=True):
        tail, head = edge_index[:, (edge_index != other).all(0)]
        row[root], level = 0, 0
        while (reached := head[(row[tail] == level) & (row[head] > num_nodes)]).size:
            level += 1
            row[reached] = level
    side = np.sign(distance[0] - distance[1])
    side[list(roots)] = -2, 2
    return side


def share(counts: list[int], budget: int) -> list[int]:
    """Divide places among groups: none gets more than it needs, and what one leaves, the others have."""
    given = [0] * len(counts)
    while budget > 0 and (wanting := [i for i, count in enumerate(counts) if given[i] < count]):
        each = max(1, budget // len(wanting))
        for i in wanting:
            take = min(each, counts[i] - given[i], budget)
            given[i], budget = given[i] + take, budget - take
    return given


def lay_out(side: np.ndarray, weight: np.ndarray, most: int = 40, aspect: float = 2.0) -> PairLayout:
    """Place the first root's neighbours in a fan on the left, the second's on the right, shared ones in the middle.

    Args:
        side: (n,) of :func:`sides`.
        weight: (n,) the heavier a node, the nearer to the roots it is, and the later it is left out.
        most: nodes shown, roots included; the others of each group become one "more" tile.
        aspect: height over width of a tile.
    """
    if most < 5:
        raise ValueError(f"a picture needs room for at least 5 nodes, got {most}")
    groups = [np.flatnonzero(side == which) for which in (-1, 0, 1)]
    groups = [group[np.argsort(-weight[group], kind="stable")] for group in groups]
    shown = share([len(group) for group in groups], most - 2)
    hidden = [len(group) - count for group, count in zip(groups, shown, strict=True)]
    grids = [_columns(count + (left > 0)) for count, left in zip(shown, hidden, strict=True)]
    height = max([_extent(rows, aspect) for grid in grids for rows in grid] + [ROOT * aspect])
    wide = [1 + COLUMN * (len(grid) - 1) if grid else 0.0 for grid in grids]
    fans = [wide[i] + CLEAR if grids[i] else 0.0 for i in (0, 2)]
    left = MARGIN + fans[0] + ROOT / 2
    middle = left + ROOT / 2 + CLEAR + max(wide[1], 0.4) / 2
    right = 2 * middle - left
    centre, size = np.full((len(side), 2), np.nan), np.tile([1.0, aspect], (len(side), 1))
    more: list[tuple[float, float, int]] = []
    for number, (grid, group) in enumerate(zip(grids, groups, strict=True)):
        column, y = _cells(grid, aspect)
        if number == 1:
            x = middle + COLUMN * column - (wide[1] - 1) / 2
        else:
            out = ROOT / 2 + CLEAR + 0.5 + COLUMN * column - BEND * (2 * y / height) ** 2
            x = left - out if number == 0 else right + out
        count = shown[number]
        centre[group[:count]] = np.stack([x[:count], y[:count]], 1)
        if hidden[number]:
            more.append((float(x[count]), float(y[count]) + height / 2 + MARGIN, hidden[number]))
    for which, x in ((-2, left), (2, right)):
        centre[side == which], size[side == which] = (x, 0), (ROOT, ROOT * aspect)
    centre[:, 1] += height / 2 + MARGIN
    return PairLayout(centre, size, more, (right + ROOT / 2 + fans[1] + MARGIN, height + 2 * MARGIN))


def _columns(count: int) -> list[int]:
    """Rows of each column of a group, the column nearest to the roots first."""
    if not count:
        return []
    number = 1 + (count > 4) + (count > 10) + (count > 18) + (count > 28)
    return [count // number + (i < count % number) for i in range(number)]


def _extent(rows: int, aspect: float) -> float:
    """Height of a column, with room for its shift."""
    return rows * (aspect + GAP) - GAP + (aspect + GAP) / 2


def _cells(grid: list[int], aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Column and y (0 in the middle) of a group's cells, the middle of the first column first.

    Neighbouring columns are half a row apart, so that edges to the outer one pass between tiles of the inner one.
    """
    columns, heights, step = [], [], aspect + GAP
    even = [False] + [(rows - before) % 2 == 0 for before, rows in zip(grid, grid[1:], strict=False)]
    shift = -0.25 if any(even) else 0.0  # columns of odd and even length are half a row apart by themselves
    for column, rows in enumerate(grid):
        shift = -shift if even[column] else shift
        y = (np.arange(rows) - (rows - 1) / 2 + shift) * step
        heights.append(y[np.argsort(np.abs(y), kind="stable")])
        columns.append(np.full(rows, column))
    return (np.concatenate(columns), np.concatenate(heights)) if grid else (np.zeros(0), np.zeros(0))
