"""The paper's claims: one function per claim, on held-out samples, and the ledger of verdicts."""
