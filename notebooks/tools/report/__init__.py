"""Notebooks run headless, and the report of their results."""
