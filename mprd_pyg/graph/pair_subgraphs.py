"""From a graph and pairs of its nodes to one flat PyG ``Batch`` of pair subgraphs."""
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from mprd_pyg.graph.drnl import drnl
from mprd_pyg.graph.neighbours import NeighbourLists, contains_sorted, sort_keys, unique_keys


class PairData(Data):
    """One pair subgraph: ``n_id`` (n,), ``z`` (n,), ``edge_index`` (2, E), ``root_index`` (1, 2) [, ``y`` (1,)]."""

    def __cat_dim__(self, key, value, *args, **kwargs):
        return 0 if key == "root_index" else super().__cat_dim__(key, value, *args, **kwargs)


class PairSubgraphs:
    r"""Cuts out the neighbourhood graph :math:`G_{ij}` of each pair (MPRD, Ji et al., ICCV 2021, Eq. 4).

    NN(b) are the sources of the edges into b. With the defaults the nodes are {i, j}, NN(i) and NN(j), and
    there is an undirected edge between b in {i, j} and each of its neighbours (a double star). The edge
    between i and j itself is always left out: it would leak the label. Self-loops and repeats are dropped.

    Args:
        edges: ``"roots"`` keeps the edges over which the neighbourhood was walked (Eq. 4), ``"induced"``
            all edges of the graph between the nodes found.
        hops: how many steps to walk from the roots.

    Example::

        batch = PairSubgraphs()(graph, pairs)   # pairs (P, 2) -> Batch of P graphs
        batch[5].n_id[batch[5].root_index]      # the pair itself: nodes are sorted, roots are marked
    """

    def __init__(self, edges: str = "roots", hops: int = 1):
        if edges not in ("roots", "induced"):
            raise ValueError(f"edges must be 'roots' or 'induced', got {edges!r}")
        if hops < 1:
            raise ValueError(f"hops must be at least 1, got {hops}")
        self.edges, self.hops = edges, hops

    @property
    def reach(self) -> int:
        """How many steps around a root's neighbour lists are read (the ``reach`` of a kNN graph, less one)."""
        return self.hops + (self.edges == "induced") - 1

    def __call__(self, graph: Data | NeighbourLists, pairs: Tensor | Sequence[Sequence[int]],
                 y: Tensor | None = None) -> Batch:
        """Build all subgraphs.

        Args:
            graph: any graph with ``edge_index`` (row 1 the node, row 0 its neighbour), or its lists.
            pairs: (P, 2) nodes i and j, i != j.
            y: (P,) labels to carry along.

        Returns:
            Batch with ``n_id`` (n,) node of the graph, ``z`` (n,) :func:`drnl` label, ``edge_index`` (2, E),
            ``root_index`` (P, 2), ``batch`` (n,), ``ptr`` (P + 1,).
        """
        lists = graph if isinstance(graph, NeighbourLists) else NeighbourLists.from_graph(graph)
        pairs = torch.as_tensor(pairs, device=lists.ptr.device).contiguous()
        self._check(pairs, lists.num_nodes)
        nodes, edges = self._walk(lists, pairs)
        if self.edges == "induced":
            owner, neighbour = lists.gather(nodes % lists.num_nodes)
            other = nodes[owner] - nodes[owner] % lists.num_nodes + neighbour
            inside = contains_sorted(nodes, other)
            edges = torch.stack([other[inside], nodes[owner[inside]]])
        return self._assemble(lists, pairs, nodes, edges, y)

    def _walk(self, lists: NeighbourLists, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Keys pair * N + node: the nodes found (n,), sorted, and the edges walked (2, S)."""
        total = lists.num_nodes
        frontier = (torch.arange(len(pairs), device=pairs.device).unsqueeze(1) * total + pairs).flatten()
        nodes, walked = sort_keys(frontier), []
        for hop in range(self.hops):
            owner, neighbour = lists.gather(frontier % total)
            tail = frontier[owner]
            head = tail - tail % total + neighbour
            walked.append(torch.stack([head, tail]))
            known, nodes = nodes, unique_keys(torch.cat([nodes, head]))
            if hop + 1 < self.hops:
                frontier = nodes[~contains_sorted(known, nodes)]
        return nodes, torch.cat(walked, dim=1)

    def _assemble(self, lists, pairs, nodes, edges, y) -> Batch:
        total, count = lists.num_nodes, len(pairs)
        roots = torch.arange(count, device=pairs.device).unsqueeze(1) * total + pairs
        root_index = torch.searchsorted(nodes, roots)
        edges = torch.searchsorted(nodes, edges)
        owner = torch.div(nodes, total, rounding_mode="floor")
        is_root = torch.zeros(len(nodes), dtype=torch.bool, device=pairs.device)
        is_root[root_index.flatten()] = True
        edges = edges[:, ~(is_root[edges[0]] & is_root[edges[1]])]
        simple = self.edges == "roots" and self.hops == 1
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        # Sorted by node; a double star has no edge twice, any other walk may.
        key = edges[1] * len(nodes) + edges[0]
        key = sort_keys(key) if simple else unique_keys(key)
        head = torch.div(key, max(len(nodes), 1), rounding_mode="floor")
        edge_index = torch.stack([key - head * len(nodes), head])
        if simple:  # only 0, 1 and 2 can occur: a common neighbour hangs on both roots
            degree = torch.bincount(head, minlength=len(nodes))
            z = torch.where(degree == 2, 2, 0)
            z[root_index.flatten()] = 1
        else:
            z = drnl(edge_index, root_index, len(nodes))
        size = torch.bincount(owner, minlength=count)
        ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
        edge_ptr = torch.searchsorted(head, ptr)
        return pair_batch(nodes - owner * total, z, edge_index, edge_ptr, root_index, owner, ptr,
                          {} if y is None else {"y": y})

    def _check(self, pairs: Tensor, num_nodes: int) -> None:
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
        return f"{type(self).__name__}(edges={self.edges!r}, hops={self.hops})"


def pair_batch(n_id: Tensor, z: Tensor, edge_index: Tensor, edge_ptr: Tensor, root_index: Tensor, batch: Tensor,
               ptr: Tensor, per_pair: dict[str, Tensor] | None = None) -> Batch:
    """Wrap flat tensors as the PyG batch that collating the single subgraphs would have given.

    ``edge_ptr`` (P + 1,) is where each graph's edges start; ``per_pair`` are tensors of one entry per graph.
    """
    count = len(ptr) - 1
    each = torch.arange(count + 1)
    ptr_host, none = ptr.cpu(), torch.zeros(count, dtype=torch.long)
    out = Batch(_base_cls=PairData)
    fields = {"n_id": (n_id, ptr_host, none), "z": (z, ptr_host, none),
              "edge_index": (edge_index, edge_ptr.cpu(), ptr_host[:-1]),
              "root_index": (root_index, each, ptr_host[:-1])}
    fields |= {name: (value, each, none) for name, value in (per_pair or {}).items()}
    for name, (value, _, _) in fields.items():
        out[name] = value
    out.num_nodes, out._num_nodes = len(n_id), ptr_host.diff().tolist()
    out.batch, out.ptr = batch, ptr
    out._num_graphs = count
    out._slice_dict = {name: slices for name, (_, slices, _) in fields.items()}
    out._inc_dict = {name: increments for name, (_, _, increments) in fields.items()}
    return out
