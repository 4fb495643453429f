"""``python -m pipelines.experiments``: see :mod:`pipelines.experiments.command`."""
import sys

from pipelines.experiments.command import main

sys.exit(main())
