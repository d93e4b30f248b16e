"""Lesson 03/02: PET, and what was built on it."""

from labkit.fewshot.pet.pet import PET

__all__ = ["PET"]
