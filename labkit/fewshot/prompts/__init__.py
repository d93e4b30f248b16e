"""Lesson 03/01, prompts: templates, verbalizers, and every way to read an answer off a blank."""
