"""Verdicts on the paper's claims from finished runs, by the rules in ``conf/claims.yaml``."""
