"""What a pre-trained body is used for: heads for many kinds of answers, and how much of the body learns with them.

Heads for a class, for tags and for spans are in `foundations` (heads, native, tagging, reading). Here are one score an
option (`choice`), BiDAF, a reader from before BERT (`bidaf`), one text format for all kinds of questions
(`text_to_text`), the body as a fixed source of features (`features`), and one set of questions in all these forms
(`questions`).
"""

from __future__ import annotations
