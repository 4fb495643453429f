"""``python -m pipelines.report``: see :mod:`pipelines.report.command`."""
import sys

from pipelines.report.command import main

sys.exit(main())
