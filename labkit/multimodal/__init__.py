"""Module 5, several senses: pictures, speech and text in one model."""
