"""The Transformer, piece by piece: each file is one of its pieces.

| file | piece |
|---|---|
| `tokenization.py` | text to pieces of words: BPE and WordPiece, learnt and used |
| `attention.py` | scaled dot-product attention, masks, several heads |
| `positions.py` | where a token stands: sinusoids, a table, relative sinusoids (NEZHA), buckets (T5) |
| `transformer.py` | layers, stacks, and the three models that are made of them |
| `copying.py` | the weights of transformers' BERT, GPT-2 and T5 in these models |
"""
