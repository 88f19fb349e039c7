"""What the first answer of a loaded estimator may cost, in relation to the size of its file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from sk_fewshot.encoders._inference import rows_a_call
from sk_fewshot.heads.relation import PAIRS
from sk_fewshot.persistence._container import InvalidFileError
from sk_fewshot.persistence._layers import Shape, passed_through

_NUMBERS = 2**25  # held at once beside the weights, 128 MiB, and for each byte of the file
_NUMBERS_A_BYTE = 8
_PRODUCTS = 6 * 10**9  # multiplications, and for each byte of the file
_PRODUCTS_A_BYTE = 4000
QUERIES = 64  # that a classifier scores at once


@dataclass(frozen=True)
class Allowance:
    """What a file of some bytes may ask for.

    Parameters
    ----------
    n_bytes : int
        Of all arrays in the file.
    """

    n_bytes: int

    def check(self, what: str, *, numbers: float = 0, products: float = 0) -> None:
        """Check the numbers held at once, and the products taken, for one answer.

        Raises
        ------
        InvalidFileError
            If they are too many.
        """
        if numbers > _NUMBERS + _NUMBERS_A_BYTE * self.n_bytes:
            raise InvalidFileError(f"{what} takes {numbers:.2g} numbers in memory at once.")
        if products > _PRODUCTS + _PRODUCTS_A_BYTE * self.n_bytes:
            raise InvalidFileError(f"{what} takes {products:.2g} products for one answer.")


def check_encoder(
    module: nn.Module, input_shape: Shape, n_outputs: int, allowance: Allowance
) -> None:
    """Check what encoding takes, and that it returns embeddings.

    Parameters
    ----------
    module : nn.Module
        Of known layers.
    input_shape : tuple of int
        Of one example.
    n_outputs : int
        Length of an embedding.
    allowance : Allowance

    Raises
    ------
    InvalidFileError
        If it costs too much, or the output has another shape or type.
    """
    n_rows = rows_a_call(input_shape, torch.device("cpu"))
    all_products = 0.0

    def visit(before: Shape, after: Shape, products: float) -> None:
        nonlocal all_products
        all_products += n_rows * products
        numbers = n_rows * (prod(before) + prod(after))
        allowance.check("its encoder", numbers=numbers, products=all_products)

    shape, _ = passed_through(module, input_shape, torch.float32, visit)
    if not shape or prod(shape) != n_outputs:
        raise InvalidFileError(f"its encoder returns {prod(shape)} numbers, not {n_outputs}.")


def check_relations(head: Any, n_classes: int, allowance: Allowance) -> None:
    """Check what a :class:`~sk_fewshot.heads.RelationHead` takes to compare queries with classes.

    Raises
    ------
    InvalidFileError
        If it is too much.
    """
    first, second = (
        layer.weight for layer in (head.comparator.query_convolution, head.comparator.block[0])
    )
    height, width = head.comparator.map_shape[1:]
    n_pixels = height * width
    n_pooled = n_pixels // 4 if min(height, width) > 1 else n_pixels
    n_at_once = max(n_classes, min(QUERIES * n_classes, PAIRS))
    allowance.check(
        "its comparator",
        numbers=2 * n_at_once * n_pixels * len(first),
        products=QUERIES * n_classes * n_pooled * second.numel(),
    )
