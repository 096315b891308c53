"""What the notebooks share and nothing else needs: the paper's tables, figures and claims, and how
notebooks run."""
