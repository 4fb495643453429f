"""The one training loop and what methods are made of."""
from mprd_pyg.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from mprd_pyg.training.learner import Learner
from mprd_pyg.training.memory_graph import MemoryGraph
from mprd_pyg.training.pair_book import PairBook, group_figures
from mprd_pyg.training.schedules import LinearSchedule, StepSchedule
from mprd_pyg.training.trainer import Method, Phase, Stopped, Trainer, once

__all__ = ["Learner", "LinearSchedule", "MemoryGraph", "Method", "PairBook", "Phase", "StepSchedule", "Stopped",
           "Trainer", "group_figures", "load_checkpoint", "load_weights", "once", "save_checkpoint"]
