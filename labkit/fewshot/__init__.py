"""Module 03: learning from a handful of examples, with prompts."""
