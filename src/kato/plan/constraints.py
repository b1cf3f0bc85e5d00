"""Marathon's placement constraints: an app's triples go in; which values of a node's field they admit comes out.

Two kinds of answer. `admits` looks at one value alone (LIKE, UNLIKE, IS, CLUSTER with a value). `room` looks at
how many of the app's tasks stand at each value (UNIQUE, MAX_PER, GROUP_BY) and says how many more may come to
each. A node that lacks the field passes only UNLIKE. (Marathon: `mesosphere/mesos/Constraints.scala`.)
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from kato.model.app import App
from kato.model.node import Node
from kato.model.patterns import matches

Counts = NDArray[np.int64]


class Rule(msgspec.Struct, frozen=True, order=True):
    """One constraint. argument: its third word, None where it has two."""

    field: str
    operator: str
    argument: str | None = None

    @property
    def number(self) -> int:
        """The third word as a number; 0 where there is none."""
        return int(self.argument) if self.argument and self.argument.isdecimal() else 0

    @property
    def counts(self) -> bool:
        """Whether the answer depends on where the app's other tasks are."""
        return self.operator in ("UNIQUE", "MAX_PER", "GROUP_BY") or (
            self.operator == "CLUSTER" and not self.argument
        )

    @property
    def phrase(self) -> str:
        """What it asks for, as a refusal says it."""
        name = self.field.removeprefix("@")
        match self.operator:
            case "UNIQUE":
                return f"one per {name}"
            case "MAX_PER":
                return f"at most {self.number} per {name}"
            case "GROUP_BY":
                return f"evenly over {name}"
            case "CLUSTER" if not self.argument:
                return f"all on the same {name}"
            case "LIKE" | "UNLIKE":
                return f"{name} {self.operator.lower()} {self.argument}"
        return f"{name}={self.argument}"


def rules(app: App) -> tuple[Rule, ...]:
    """An app's constraints in its own order."""
    return tuple(Rule(field, operator.upper(), *rest) for field, operator, *rest in app.constraints)


def value(node: Node, field: str) -> str | None:
    """What a node has in a field, None where it lacks it. Numbers are written `0.###`."""
    match field:
        case "hostname" | "@hostname":
            return node.hostname
        case "@region":
            return node.region
        case "@zone":
            return node.zone
    attribute = node.attributes.get(field)
    return attribute if attribute is None or isinstance(attribute, str) else scalar(attribute)


def scalar(number: float) -> str:
    """A number with at most three decimals and no needless zeros.

    >>> scalar(8.0), scalar(0.25), scalar(1.23456)
    ('8', '0.25', '1.235')
    """
    return f"{number:.3f}".rstrip("0").rstrip(".")


def admits(rule: Rule, value: str | None) -> bool:
    """Whether a node with this value may take a task, as far as the value alone tells."""
    if value is None:
        return rule.operator == "UNLIKE"
    match rule.operator:
        case "LIKE":
            return matches(rule.argument or "", value)
        case "UNLIKE":
            return not matches(rule.argument or "", value)
        case "IS":
            return value == rule.argument
        case "CLUSTER" if rule.argument:
            return value == rule.argument
    return True


def room(rule: Rule, placed: Counts, open: Counts, instances: int, step: bool = False) -> Counts:
    """How many more tasks may come to each value of the rule's field.

    placed: tasks of the app at each value; open: nodes there that could take one more. instances: of the app,
    or its tasks and those to come where these are more, so that an upgrade does not wait for itself. Taken in
    the order of rising count, any first part of what it allows is allowed; step: at most one at each value.

    GROUP_BY without a number adds to the smallest groups only; with n it aims at a nth of `instances` each.
    """
    match rule.operator:
        case "UNIQUE":
            allowed = 1 - placed
        case "MAX_PER":
            allowed = rule.number - placed
        case "GROUP_BY" if rule.number:
            allowed = _shares(rule.number, placed, open, instances)
        case "GROUP_BY":
            allowed = _level(placed, open)
        case _:  # CLUSTER: pinned to where most are
            pinned = np.arange(placed.size) == placed.argmax() if placed.any() else True
            allowed = np.where(pinned, open, 0)
    return np.clip(allowed, 0, 1 if step else None)


def _level(placed: Counts, open: Counts) -> Counts:
    """To where all groups can rise together; if one of the smallest cannot, the others of its size by one."""
    groups = (placed > 0) | (open > 0)
    if not groups.any():
        return np.zeros_like(placed)
    low = int(placed[groups].min())
    level = max(int((placed + open)[groups].min()), low + 1)
    return np.where(open > 0, level - placed, 0)


def _shares(groups: int, placed: Counts, open: Counts, instances: int) -> Counts:
    """Up to a share each; after that, one more for as many groups as the division leaves over."""
    share, over = divmod(instances, groups)
    below = np.where(open > 0, share - placed, 0)
    if (below > 0).any():
        return below
    left = over - int((placed > share).sum())
    ready = np.flatnonzero((placed == share) & (open > 0))[: max(0, left)]
    extra = np.zeros_like(placed)
    extra[ready] = 1
    return extra
