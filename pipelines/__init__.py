"""The scripts: one command per job, each on top of the libraries."""
import warnings

# PyTorch Geometric's own import; nothing a user of the commands can act on.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
