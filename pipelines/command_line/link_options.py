"""The options of link prediction."""
from typing import Literal

from mprd_pyg.graph import PairStatistics, PairSubgraphs
from mprd_pyg.link_prediction import DGCNN, HEURISTICS, SEAL, LPFormerBaseline, read_graph, split_links, train_gae
from mprd_pyg.models import PairClassifier
from mprd_pyg.models.pairs import BoostedPairs, LogisticPairs
from pipelines.command_line import cli

NETWORKS = ("dgcnn", "max")
SCORERS = ("auto", "logistic", "boosted", "mean", *NETWORKS)
BASELINES = (*HEURISTICS, "gae", "lpformer")


def add_link_options(parser: cli.Parser) -> None:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser.add_argument("--graph", type=str, required=True, help=read_graph.__doc__.split("path: ")[1].split("key:")[0])
    parser.add_argument("--key", type=str, default="net", help="name of the matrix in a .mat file")
    parser.add_argument("--features", type=bool, default=True, help="use node features where the file has them")
    parser.add_argument("--pairs", type=str | None, default=None,
                        help="text file of node pairs to score with the trained model, as an edge list")
    parser.add_function_arguments(split_links, "split", skip={"graph", "seed"})
    parser.add_argument("--scorer", type=list[Literal[SCORERS]], default=["auto", "logistic", "boosted", "mean"],
                        help="what scores pairs; the first is the result. logistic, boosted: on pair statistics; dgcnn "
                             "(SEAL's), max (MPRD's): networks on subgraphs; mean: of the logits of those; auto: the "
                             "best of the others on the validation pairs; mean, unless another is clearly better")
    parser.add_argument("--negatives", type=Literal["random", "heart"], default="random",
                        help="heart: each link also has negatives of its own, which simple scores believe most")
    parser.add_argument("--negatives_each", type=int, default=500, help="of each link with heart")
    parser.add_class_arguments(PairStatistics, "columns", instantiate=False)
    parser.add_argument("--small_nodes", type=int, default=10_000,
                        help="graphs with more nodes do without the slowest statistics (unless named by columns)")
    parser.add_argument("--fit_pairs", type=int, default=400_000,
                        help="training pairs that logistic and boosted learn from, at most; drawn at random")
    parser.add_argument("--gae_folds", type=int, default=0,
                        help="folds of a cross-fitted auto-encoder whose logit is one more statistic; 0: none")
    parser.add_class_arguments(LogisticPairs, "logistic", instantiate=False)
    parser.add_class_arguments(BoostedPairs, "boosted", instantiate=False, skip={"seed"})
    parser.add_argument("--statistics", type=bool, default=False, help="networks read the statistics too")
    parser.add_class_arguments(PairSubgraphs, "subgraphs", skip={"hops"}, instantiate=False)
    parser.add_argument("--subgraphs.hops", "--hops", type=int | Literal["auto"], default="auto",
                        help="steps to walk from the pair; auto chooses 1, 2 or 3 on the validation pairs")
    parser.set_defaults({"subgraphs.edges": "induced"})
    parser.add_argument("--sort_k", type=float, default=0.6,
                        help="nodes kept by dgcnn; at most 1: so many that this fraction of the training subgraphs has "
                             "no more, and at least 10")
    parser.add_class_arguments(DGCNN, "dgcnn", skip={"dim", "num_labels", "sort_k"}, instantiate=False)
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim", "num_labels", "head", "sort_k"}, instantiate=False)
    parser.add_class_arguments(SEAL, "training", instantiate=False, skip={
        "fabric", "classifier", "train", "train_label", "validation", "validation_label", "x", "seed"})
    parser.add_argument("--memory_gb", type=float, default=1.0, help="memory for built subgraphs; 0 keeps none")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_argument("--baselines", type=list[Literal[BASELINES]], default=list(HEURISTICS),
                        help="scored beside; katz and ppr take long on graphs of 100,000 nodes and more, gae and "
                             "lpformer (PyG's, trained until the validation pairs are told no better) on any")
    parser.add_function_arguments(train_gae, "gae", skip={"graph", "links", "merit", "seed", "device"})
    parser.add_class_arguments(LPFormerBaseline, "lpformer", skip={"split", "merit", "seed"}, instantiate=False)
    parser.add_argument("--hits", type=list[int], default=[10, 50, 100], help="the K of Hits@K")
