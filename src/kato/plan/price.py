"""What is free on the nodes goes in; what the nodes that carry tasks cost comes out."""

import numpy as np

from kato.plan.columns import Free


def price(free: Free) -> float | None:
    """Dollars an hour of all nodes that carry tasks; None where no price is known, or one of theirs is not."""
    prices = free.columns.price
    if bool(np.isnan(prices).all()):
        return None
    total = float(prices[free.tasks > 0].sum())
    return None if np.isnan(total) else round(total, 6)
