"""Code that only the notebooks use: the paper's tables, figures and claims, and the notebook
runner."""
