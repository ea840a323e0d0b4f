"""The benchmarks that ``tools/benchmark.py`` runs: one module per command, with `add_arguments` and `benchmark`."""
