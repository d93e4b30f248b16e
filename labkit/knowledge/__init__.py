"""Module 2, knowledge: graphs, retrieval and reading, and language models that are given what they do not know."""
