"""Attributions of any model: what a column adds, averaged over orders in which columns take their own values.

Each order is walked once forwards and once backwards, which cancels most of what pairs of columns add together. The
orders are drawn with a seed and are the same for every row, so a row gets the same attribution alone or among others.
What is added telescopes: base and values always add up to the model's answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backstory.columns.draw import Draw


def coalitions(columns: int, orders: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what is to be asked of a model, and which answers are compared.

    Args:
        columns: How many columns there are.
        orders: How many orders are drawn.
        seed: Draws them.

    Returns:
        A mask a row over the columns, true where a column has its own value; the first has none, the last all. And for
        each walk a row of the places of its masks, with the order of the columns after them: `columns + 1` places, then
        `columns` names by number.
    """
    drawn = Draw(seed)
    masks = [np.zeros(columns, bool)]
    places_of: dict[bytes, int] = {}
    walks = []
    for _ in range(orders):
        order = drawn.shuffled(np.arange(columns))
        for walk in (order, order[::-1]):
            places = [0]
            for end in range(1, columns):
                mask = np.zeros(columns, bool)
                mask[walk[:end]] = True
                place = places_of.setdefault(mask.tobytes(), len(masks))
                places.append(place)
                if place == len(masks):  # walks meet: of few columns there are few masks
                    masks.append(mask)
            walks.append([*places, -1, *walk])
    masks.append(np.ones(columns, bool))
    return np.stack(masks), np.asarray(walks).reshape(len(walks), 2 * columns + 1)


def attribute(answers: np.ndarray, walks: np.ndarray) -> np.ndarray:
    """Return what each column added.

    Args:
        answers: What the model gave for the masks of `coalitions`, averaged over the rows compared with.
        walks: The walks of `coalitions`.
    """
    columns = (walks.shape[1] - 1) // 2
    steps = np.diff(answers[walks[:, : columns + 1]], axis=1)
    added = np.zeros(columns)
    for walk, step in zip(walks[:, columns + 1 :], steps, strict=True):
        added[walk] += step
    return added / len(walks)


def answers_of(masks: np.ndarray, background: int, ask: Callable[[np.ndarray], np.ndarray], most: int) -> np.ndarray:
    """Return the mean answer for each mask.

    Args:
        masks: The masks.
        background: How many rows are compared with.
        ask: Given a row of places for each row that is asked for, returns the model's answers; place 0 is the row's own
            value, the others those of the rows compared with.
        most: How many rows are asked for at once.
    """
    found = []
    step = max(1, most // background)
    others = np.arange(1, background + 1)
    for begin in range(0, len(masks), step):
        part = masks[begin : begin + step]
        places = np.where(part[:, None, :], 0, others[None, :, None]).reshape(-1, masks.shape[1])
        found.append(ask(places).reshape(len(part), background).mean(axis=1))
    return np.concatenate(found)
