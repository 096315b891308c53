"""The compiled branch and bound under the exact search."""
