"""Tables and sweeps of runs, beside the published figures."""
