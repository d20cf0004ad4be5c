"""What a class says of its mathematics, and whether a subclass may still say it."""

import functools

# Everything that a step may run. Whoever overrides one of these computes something else.
MATHEMATICS = (
    "call",
    "step",
    "recur",
    "gate",
    "recurrent",
    "project",
    "ready",
    "gather_weights",
    "derive",
    "draw_noise",
)


@functools.cache
def holds(cls, claim, methods=MATHEMATICS):
    """Whether the attribute `claim` of a class was said of the very methods that the class has.

    A class that overrides one of them loses what its parents claimed, wherever it lives, until it claims it anew.

    Args:
        cls: the class.
        claim: name of the attribute.
        methods: names of the methods that the claim is about.

    >>> class Plain:
    ...     exact = True
    ...     def gate(self): ...
    >>> class Renamed(Plain): ...
    >>> class Changed(Plain):
    ...     def gate(self): ...
    >>> holds(Renamed, "exact"), holds(Changed, "exact")
    (True, False)
    """
    claimed = _place(cls, claim)
    return all(_place(cls, method) >= claimed for method in methods)


def _place(cls, name):
    """How far up in the order of its bases a class finds a name."""
    order = cls.__mro__
    return next((place for place, each in enumerate(order) if name in vars(each)), len(order))
