"""The workloads of the goals, runnable by anyone: ``python -m benchmarks WORKLOAD --store URL --runs N --in-flight C``."""
