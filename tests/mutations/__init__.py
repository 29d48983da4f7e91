"""Breaks the code on purpose, in copies of it, and sees which tests notice: `python -m tests.mutations`."""
