"""What one datum is: its shape, its values, and whether probability is mass or density there.

Every border of pmodel passes through ``Domain.check``: it accepts arrays, lists and tensors, and answers with a tensor of one
known type and shape, or with an error that names the first offending value. The condition of a conditional model is a datum
too, and so has a domain: a class label is ``Discrete((), levels=10)``.

==========  =======================================  ===================  ==================
domain      datum                                    tensor               probability is
==========  =======================================  ===================  ==================
Discrete    whole numbers 0 … levels - 1             int64 (N, *shape)    mass
Real        real numbers                             float (N, *shape)    density
Table       columns: real, stepped, or categories    float64 (N, D)       mass × density
==========  =======================================  ===================  ==================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInput
from .alphabet import Alphabet
from .base import Domain
from .plain import Discrete, Real
from .sequences import Sequences
from .table import Column, Table

__all__ = ["Alphabet", "Column", "Discrete", "Domain", "Real", "Sequences", "Table", "domain_from_json"]

KINDS: Mapping[str, type[Discrete] | type[Real] | type[Table] | type[Sequences]] = {
    "discrete": Discrete,
    "real": Real,
    "table": Table,
    "sequences": Sequences,
}


def domain_from_json(value: Mapping[str, Any]) -> Domain:
    """The domain that ``to_json`` wrote.

    Raises:
        BadInput: if it is not one.
    """
    fields = dict(value) if isinstance(value, Mapping) else {}
    kind = KINDS.get(str(fields.pop("kind", None)))
    if kind is None:
        raise BadInput("A domain is discrete, real, a table, or sequences.", got=value)
    try:
        return kind(**fields)
    except TypeError as error:
        raise BadInput(f"This is not the description of a {kind.__name__} domain.", got=value) from error
