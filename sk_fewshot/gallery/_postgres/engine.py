"""Where a gallery in PostgreSQL is, as users name it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sk_fewshot.gallery._postgres import tables, values
from sk_fewshot.gallery._postgres.connections import load_psycopg
from sk_fewshot.gallery._postgres.rows import PostgresRows
from sk_fewshot.gallery._stored import GalleryEngine


@dataclass(frozen=True)
class PostgresGallery(GalleryEngine):
    """A gallery in PostgreSQL with pgvector, which outlives processes and is shared by many.

    Given as the parameter `index` of :class:`~sk_fewshot.PrototypicalClassifier`,
    :class:`~sk_fewshot.MatchingClassifier` and :class:`~sk_fewshot.SiameseClassifier`. Each call
    of theirs that enrols or removes is one transaction: all of it happens or nothing, and every
    process sees it from then on. Needs ``pip install "sk-fewshot[postgres]"``, and in the database
    pgvector 0.5 or later.

    ``fit`` replaces what is enrolled under this name, in every process, as do scikit-learn's
    functions that fit clones: cross-validate with ``index=None``. The first ``partial_fit`` of a
    classifier, and ``join``, take part in what is there. Encoders must be frozen for that, or
    "passthrough", and be the same in all processes.

    Embeddings are kept in float32, at most 16,000 numbers each. Answers are those of a gallery in
    memory that holds the same numbers.

    Parameters
    ----------
    dsn : str
        Where the database is, as libpq takes it: ``"postgresql://user@host/database"`` or
        ``"host=... dbname=..."``; "" leaves all to the environment (PGHOST, PGUSER, ...). It is
        part of pickles and copies, so keep passwords in ``~/.pgpass`` or PGPASSWORD.
    table : str
        Name of the gallery: its rows are the table of this name, and what they share is in another
        one with "_settings" at its end. At most 54 bytes. Not created before the first `fit`.
    search : {"exact", "hnsw"}, default="exact"
        "hnsw": `predict` and `kneighbors` search by an approximate index, which may miss
        neighbours. It is built by the first enrolment, and kept up to date by all. At most 2,000
        numbers each.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none of those.

    See Also
    --------
    sk_fewshot.gallery.Examples : A gallery in memory.

    Examples
    --------
    >>> from sk_fewshot import PrototypicalClassifier
    >>> from sk_fewshot.gallery import PostgresGallery
    >>> people = PostgresGallery("postgresql://photos@db.example/photos", table="people")
    >>> PrototypicalClassifier("passthrough", index=people)
    PrototypicalClassifier(encoder='passthrough',
                           index=PostgresGallery(table='people', search='exact'))
    """

    dsn: str
    table: str
    search: str = "exact"

    def __post_init__(self) -> None:
        for name in ("dsn", "table", "search"):
            if not isinstance(getattr(self, name), str):
                given = type(getattr(self, name)).__name__
                raise TypeError(f"{name} must be a string, got a {given}.")
        longest = tables.LONGEST_NAME - len(tables.SUFFIX)
        n_bytes = len(self.table.encode(errors="replace"))
        if not 1 <= n_bytes <= longest:
            raise ValueError(f"table must have 1 to {longest} bytes, got {self.table!r}.")
        values.as_text("table", np.array([self.table], dtype=object))
        if self.search not in ("exact", "hnsw"):
            raise ValueError(f"search must be 'exact' or 'hnsw', got {self.search!r}.")

    def __repr__(self) -> str:
        return f"PostgresGallery(table={self.table!r}, search={self.search!r})"  # no password

    def gallery(self, kind, *, metric, encoder) -> PostgresRows:
        """Return the gallery that this names, as :class:`GalleryEngine` says."""
        load_psycopg()
        if not isinstance(metric, str) or metric not in tables.METRICS:
            raise ValueError(
                f"index=PostgresGallery(...) needs a metric among {list(tables.METRICS)}, got "
                f"metric={metric!r}."
            )
        return PostgresRows(self, kind.__name__, metric, encoder)
