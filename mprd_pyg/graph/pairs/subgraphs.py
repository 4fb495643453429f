"""From a graph and pairs of its nodes to one flat PyG ``Batch`` of pair subgraphs."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from mprd_pyg.graph.neighbour_lists import NeighbourLists
from mprd_pyg.graph.pairs.builders import SubgraphBuilder
from mprd_pyg.graph.pairs.flat_subgraphs import FlatSubgraphs, cumulated


class PairData(Data):
    """One pair subgraph: ``n_id`` (n,), ``z`` (n,), ``edge_index`` (2, E), ``root_index`` (1, 2) [, ``y`` (1,)]."""

    def __cat_dim__(self, key, value, *args, **kwargs):
        return 0 if key == "root_index" else super().__cat_dim__(key, value, *args, **kwargs)


class PairSubgraphs:
    r"""Cuts out the neighbourhood graph :math:`G_{ij}` of each pair (MPRD, Ji et al., ICCV 2021, Eq. 4).

    NN(b) are the sources of the edges into b. With the defaults the nodes are {i, j}, NN(i) and NN(j), and
    there is an undirected edge between b in {i, j} and each of its neighbours (a double star). The edge
    between i and j itself is always left out: it would leak the label. Self-loops and repeats are dropped.

    Compiled loops on the host, in as many threads as torch may use; a graph on another device is read there, and gets
    its batch back on its device.

    Args:
        edges: ``"roots"`` keeps the edges over which the neighbourhood was walked (Eq. 4), ``"induced"``
            all edges of the graph between the nodes found.
        hops: how many steps to walk from the roots.
        max_neighbours: walk to at most so many neighbours of a node with more of them (a hub), chosen at random by
            ``seed`` and the node alone; a deviation from Eq. 4, for graphs with hubs. None walks to all.
        seed: of that choice.

    Example::

        batch = PairSubgraphs()(graph, pairs)   # pairs (P, 2) -> Batch of P graphs
        batch[5].n_id[batch[5].root_index]      # the pair itself: nodes are sorted, roots are marked

    As a transform in the manner of PyG, in ``transforms.Compose`` or as the ``transform`` of a dataset or loader,
    it takes a graph with ``edge_label_index`` (2, P), as ``RandomLinkSplit`` gives it, and returns the same batch, with
    ``edge_label`` as ``y`` and, where the graph has node features, their rows as ``x``::

        train, val, test = Compose([RandomLinkSplit(is_undirected=True), PairSubgraphs("induced")])(graph)
    """

    def __init__(self, edges: str = "roots", hops: int = 1, max_neighbours: int | None = None, seed: int = 0):
        if edges not in ("roots", "induced"):
            raise ValueError(f"edges must be 'roots' or 'induced', got {edges!r}")
        if hops < 1:
            raise ValueError(f"hops must be at least 1, got {hops}")
        if max_neighbours is not None and max_neighbours < 1:
            raise ValueError(f"max_neighbours must be at least 1, or None for all, got {max_neighbours}")
        self.edges, self.hops, self.max_neighbours, self.seed = edges, hops, max_neighbours, seed

    @property
    def reach(self) -> int:
        """How many steps around a root's neighbour lists are read (the ``reach`` of a kNN graph, less one)."""
        return self.hops + (self.edges == "induced") - 1

    def __call__(self, graph: Data | NeighbourLists, pairs: Tensor | Sequence[Sequence[int]] | None = None,
                 y: Tensor | None = None) -> Batch:
        """Build all subgraphs.

        Args:
            graph: any graph with ``edge_index`` (row 1 the node, row 0 its neighbour), or its lists.
            pairs: (P, 2) nodes i and j, i != j; None takes the graph's ``edge_label_index``.
            y: (P,) labels to carry along.

        Returns:
            Batch with ``n_id`` (n,) node of the graph, ``z`` (n,) :func:`drnl` label, ``edge_index`` (2, E),
            ``root_index`` (P, 2), ``batch`` (n,), ``ptr`` (P + 1,).
        """
        x = None
        if pairs is None:
            if not isinstance(graph, Data) or graph.get("edge_label_index") is None:
                raise ValueError("no pairs were given, and the graph has no edge_label_index (2, P) to take them from")
            pairs, x = graph.edge_label_index.T, graph.get("x")
            y = graph.get("edge_label") if y is None else y
        builder, pairs, device = self._builder(graph, pairs)
        flat = builder(pairs).to(device)
        return pair_batch(flat, {} if y is None else {"y": y}, {} if x is None else {"x": x[flat.n_id]})

    def batches(self, graph: Data | NeighbourLists, pairs: Tensor | Sequence[Sequence[int]], y: Tensor | None = None,
                max_bytes: int = 1 << 28, node_bytes: int = 0) -> Iterator[Batch]:
        """Build the subgraphs in batches that keep to a memory budget, in the order of the pairs.

        Args:
            graph: as above.
            pairs: (P, 2).
            y: (P,) labels to carry along.
            max_bytes: most bytes of a batch. A pair that alone needs more comes alone: see ``max_neighbours``.
            node_bytes: what the caller will need per node, on top.

        Yields:
            Batches as above.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be positive, got {max_bytes}")
        builder, pairs, device = self._builder(graph, pairs)
        nodes, edges = builder.sizes(pairs)
        spent = cumulated(nodes * (24 + node_bytes) + edges * 16 + 40)
        start = 0
        while start < len(pairs):
            stop = int(torch.searchsorted(spent, spent[start] + max_bytes, right=True)) - 1
            part = slice(start, max(stop, start + 1))
            flat = builder(pairs[part], (nodes[part], edges[part])).to(device)
            yield pair_batch(flat, {} if y is None else {"y": y[part]})
            start = part.stop

    def lists(self, graph: Data | NeighbourLists) -> NeighbourLists:
        """The lists over which ``graph`` is walked: its own, but for the cap."""
        return as_lists(graph).capped(self.max_neighbours, self.seed)

    def _builder(self, graph, pairs) -> tuple[SubgraphBuilder, Tensor, torch.device]:
        """The builder, the checked pairs on the host, and the graph's device."""
        lists = as_lists(graph)
        pairs = torch.as_tensor(pairs).cpu().contiguous()
        self.check(pairs, lists.num_nodes)
        whole = lists.on_host
        builder = SubgraphBuilder(self.lists(whole), whole if self.edges == "induced" else None, self.hops)
        return builder, pairs.long(), lists.ptr.device

    @staticmethod
    def check(pairs: Tensor, num_nodes: int) -> None:
        """Refuse anything but different nodes of the graph, (P, 2), by a ``ValueError`` that names what is wrong."""
        if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
            raise ValueError(f"expected integer pairs of shape (P, 2), got {tuple(pairs.shape)} {pairs.dtype}")
        if pairs.numel() == 0:
            raise ValueError("no pairs were given")
        if int(pairs.min()) < 0 or int(pairs.max()) >= num_nodes:
            raise ValueError(f"a pair names a node outside 0 ... {num_nodes - 1}: "
                             f"the pairs span {int(pairs.min())} ... {int(pairs.max())}")
        same = (pairs[:, 0] == pairs[:, 1]).nonzero().flatten()
        if same.numel():
            raise ValueError(f"a pair needs two different nodes; pair {int(same[0])} is "
                             f"({int(pairs[same[0], 0])}, {int(pairs[same[0], 1])})")

    def __repr__(self) -> str:
        cap = "" if self.max_neighbours is None else f", max_neighbours={self.max_neighbours}, seed={self.seed}"
        return f"{type(self).__name__}(edges={self.edges!r}, hops={self.hops}{cap})"


def as_lists(graph: Data | NeighbourLists) -> NeighbourLists:
    """The neighbour lists of a graph, unless it is them already."""
    return graph if isinstance(graph, NeighbourLists) else NeighbourLists.from_graph(graph)


def pair_batch(flat: FlatSubgraphs, per_pair: dict[str, Tensor] | None = None,
               per_node: dict[str, Tensor] | None = None, per_edge: dict[str, Tensor] | None = None) -> Batch:
    """Wrap flat subgraphs as the PyG batch that collating the single ones would have given.

    ``per_pair``, ``per_node`` and ``per_edge`` are more tensors, of one entry per subgraph, node or edge.
    """
    count = len(flat.ptr) - 1
    each, none = torch.arange(count + 1), torch.zeros(count, dtype=torch.long)
    ptr, edge_ptr = flat.ptr.cpu(), flat.edge_ptr.cpu()
    fields = {"n_id": (flat.n_id, ptr, none), "z": (flat.z, ptr, none),
              "edge_index": (flat.edge_index, edge_ptr, ptr[:-1]), "root_index": (flat.root_index, each, ptr[:-1])}
    for more, slices in ((per_pair, each), (per_node, ptr), (per_edge, edge_ptr)):
        fields |= {name: (value, slices, none) for name, value in (more or {}).items()}
    out = Batch(_base_cls=PairData)
    for name, (value, _, _) in fields.items():
        out[name] = value
    out.num_nodes, out._num_nodes = len(flat.n_id), ptr.diff().tolist()
    out.batch, out.ptr = flat.owner, flat.ptr
    out._num_graphs = count
    out._slice_dict = {name: slices for name, (_, slices, _) in fields.items()}
    out._inc_dict = {name: increments for name, (_, _, increments) in fields.items()}
    return out
