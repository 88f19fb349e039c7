"""An estimator's state: replaced at once, read as of one moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sk_fewshot._utils.switches import restoring

_Estimator = TypeVar("_Estimator")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()
_of_locks = threading.Lock()


def _renew_locks() -> None:
    """Give a forked child locks of its own: the parent's may be held by threads it lacks."""
    global _of_locks
    _of_locks = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def snapshot(estimator: _Estimator) -> _Estimator:
    """Return a shallow copy of an estimator, as it is at this moment."""
    copied = object.__new__(type(estimator))
    copied.__dict__ = vars(estimator).copy()
    return copied


@contextmanager
def all_or_nothing(estimator: _Estimator) -> Iterator[_Estimator]:
    """Build an estimator's new state beside the old one, and swap the two by one assignment.

    Yields a shallow copy to work on. Where the block ends well, the estimator takes over its
    attributes; where it raises, interrupts included, the estimator is untouched. Other threads see
    either all of the old attributes or all of the new ones. A second writer waits for the first.
    """
    with _lock(estimator):
        draft = snapshot(estimator)
        yield draft
        estimator.__dict__ = draft.__dict__


def of_one_moment(
    method: Callable[Concatenate[_Estimator, _Arguments], _Result],
) -> Callable[Concatenate[_Estimator, _Arguments], _Result]:
    """Let a method that only reads see the state with which it began, whatever is enrolled."""

    @restoring
    @wraps(method)
    def read(self: _Estimator, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return method(snapshot(self), *args, **kwargs)

    return read


def _lock(estimator: object) -> threading.RLock:
    with _of_locks:
        return _locks.setdefault(estimator, threading.RLock())
