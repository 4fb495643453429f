"""The one training loop, its checkpoints and schedules."""
from mprd_pyg.training.checkpoint import load_checkpoint, save_checkpoint
from mprd_pyg.training.schedules import LinearSchedule, StepSchedule
from mprd_pyg.training.trainer import Method, Phase, Stopped, Trainer

__all__ = ["LinearSchedule", "Method", "Phase", "StepSchedule", "Stopped", "Trainer", "load_checkpoint",
           "save_checkpoint"]
