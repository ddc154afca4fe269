"""Proof obligations as data: what an instruction needs before it may run."""
