"""Module 01: how language models read, pre-train and are fine-tuned. Every other module may use this one."""
