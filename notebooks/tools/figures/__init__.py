"""The figures and the table of the paper, from plain tables and fronts."""
