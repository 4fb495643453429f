"""The options that training pipelines share: typed parameters of the parts."""
from typing import Any, Literal

from lightning_fabric.loggers import Logger

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.graph import KNNGraph
from mprd_pyg.losses import BinomialDeviance, MultiPositiveInfoNCE, SoftTargets
from mprd_pyg.pretraining import supervised
from mprd_pyg.relations import Relation
from mprd_pyg.training import Learner, MemoryGraph
from paul import IPFL, PAUL, Pedal
from paul.surrogate_view import surrogate_view
from pipelines.command_line import cli
from pipelines.command_line.dataset import DataOptions
from pipelines.command_line.network_options import add_network

LEARNER = {"fabric", "network", "images", "view", "seed"}
SYNTHETIC = {"root", "domain", "seed", "height", "width"}


def training_parser(name: str, description: str, learner: dict[str, Any] | None = None,
                    source: bool = True) -> cli.Parser:
    """A parser with the options of every training pipeline; ``NAME/synthetic.yaml`` is the shipped configuration.

    Args:
        name: of the pipeline.
        description: the command's docstring, whose first line is shown.
        learner: defaults of the learner's options that differ from MPRD's.
        source: with the options of pre-training on a labelled source.
    """
    parser = cli.make_parser(f"python -m pipelines.{name}", description.splitlines()[0], f"{name}/synthetic.yaml",
                             several=True)
    parser.add_class_arguments(DataOptions, "data", instantiate=False)
    parser.add_argument("--evaluate_every", type=int, default=5, help="epochs; 0: at the end only")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_subclass_arguments(Logger, "logger", required=False,
                                  help="any logger of Lightning Fabric, of a module named by --allow_import; null is "
                                       "TensorBoard's")
    parser.add_argument("--sync_batchnorm", type=bool, default=True,
                        help="BatchNorm statistics of the whole batch where processes share it on CUDA devices; "
                             "elsewhere they are each process's own; learner.batchnorm frozen avoids both")
    parser.add_argument("--compile", type=bool, default=False, help="compile the trunk (torch.compile)")
    parser.add_function_arguments(write_synthetic, "synthetic", skip=SYNTHETIC)
    add_learner(parser, "learner", learner or {})
    if source:
        parser.add_argument("--initial", type=str | None, default=None,
                            help="checkpoint of another run, such as of pipelines.pretrain, to start the network from")
        parser.add_argument("--pretrain", type=bool, default=False, help="train the network on a labelled source first")
        parser.add_class_arguments(DataOptions, "source", instantiate=False)
        parser.add_class_arguments(supervised.SupervisedPretraining, "pretraining", instantiate=False, skip={"learner"})
        add_learner(parser, "pretraining_learner", supervised.LEARNER)
    return parser


def add_learner(parser: cli.Parser, group: str, defaults: dict[str, Any]) -> None:
    """The options of a :class:`Learner`."""
    parser.add_class_arguments(Learner, group, instantiate=False, skip=LEARNER)
    parser.set_defaults({f"{group}.{option}": value for option, value in defaults.items()})


def add_paul_options(parser: cli.Parser, help: str | None) -> None:
    """The network and losses of PAUL, and its relation as in :func:`add_relation_options`."""
    add_network(parser)
    add_relation_options(parser, help, k=10, metric="l2")
    parser.add_class_arguments(Pedal, "pedal", skip={"k"})
    add_loss_option(parser, "null is PEDAL; or, in each branch,", None)
    parser.add_class_arguments(IPFL, "ipfl")
    parser.add_class_arguments(PAUL, "method", instantiate=False, skip={
        "learner", "connect", "relation", "pedal", "ipfl", "pairs", "projection"})
    parser.add_function_arguments(surrogate_view, "surrogate", skip={"height", "width"})


def add_memory_option(parser: cli.Parser) -> None:
    """Which process holds which rows of the feature memory."""
    parser.add_argument("--memory", type=Literal["replicated", "sharded"], default="replicated",
                        help="replicated: each process holds all rows of the feature memory; sharded: its share of "
                             "them, which sends more in each step")


def add_loss_option(parser: cli.Parser, help: str, default: str | None) -> None:
    """The loss between live features and the memory, one class where ``default`` is None."""
    parser.add_subclass_arguments((BinomialDeviance, MultiPositiveInfoNCE, SoftTargets), "loss", required=False,
                                  help=f"{help} BinomialDeviance (MPRD's), MultiPositiveInfoNCE or SoftTargets")
    if default is not None:
        parser.set_defaults({"loss": {"class_path": default}})


def add_relation_options(parser: cli.Parser, help: str | None, **knn: Any) -> None:
    """The neighbour search, with its defaults, and the relation on its graph.

    ``help`` says what the relation null is; None leaves the option out.
    """
    parser.add_class_arguments(KNNGraph, "knn", skip={"center_by"})
    parser.set_defaults({f"knn.{option}": value for option, value in knn.items()})
    parser.add_class_arguments(MemoryGraph, "connect", instantiate=False, skip={"memory", "knn", "images"})
    if help is not None:
        parser.add_subclass_arguments(Relation, "relation", required=False, help=help)
    parser.add_argument("--constraints", type=str | None, default=None,
                        help="file of image pairs that are the same or different (path,other_path,verdict), such as "
                             "PairExplorer writes: they outweigh what is judged")
    parser.add_argument("--meta_identities", type=int, default=5,
                        help="labelled identities for MPRD's GCN, which stay out of the losses, or for a relation that "
                             "reads them; 0 for none")
