"""Helpers that know nothing of few-shot learning: checks, randomness, devices, files."""
