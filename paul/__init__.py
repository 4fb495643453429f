"""PAUL: patch-based discriminative feature learning (Yang et al., CVPR 2019), on the shared stage."""
from paul.algorithm import LEARNER, PAUL
from paul.ipfl import IPFL, FrozenProjection, cyclic_ranking
from paul.patch_boxes import patch_boxes
from paul.patchnet import PatchNet
from paul.pedal import Pedal

__all__ = ["IPFL", "LEARNER", "PAUL", "FrozenProjection", "PatchNet", "Pedal", "cyclic_ranking", "patch_boxes"]
