"""What an answer's probability is without parts of its picture: the stage `perturb`, a memo that knows no method."""

from tam.perturb.stage import Request, estimate, perturb

__all__ = ["Request", "estimate", "perturb"]
