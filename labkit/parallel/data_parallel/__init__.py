"""Data parallelism: collectives over point-to-point messages, DDP, ZeRO 1, 2 and 3, and what came before them."""
