"""A gallery in PostgreSQL with pgvector."""

from sk_fewshot.gallery._postgres.engine import PostgresGallery

__all__ = ["PostgresGallery"]
