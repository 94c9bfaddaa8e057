"""Evaluation: metrics, readers of test sets, suites."""
