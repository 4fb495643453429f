"""PAUL: patch-based discriminative feature learning (Yang et al., CVPR 2019), on the shared stage; not there yet."""
