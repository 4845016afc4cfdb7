"""Mechanical mutants of the model: do the invariants notice a rule that is slightly wrong?"""
