"""The course itself: which lessons there are, and the tools that build, check and begin them."""

from __future__ import annotations
