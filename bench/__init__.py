"""Benchmarks: `make bench` runs all of them side by side and prints tables. They are not timed tests."""
