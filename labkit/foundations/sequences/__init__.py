"""Lesson 01/02: networks that read one word after another, and two ways past their limits.

| file | what it is |
|---|---|
| `recurrent.py` | RNN, GRU, LSTM: their steps, and a layer that reads padded texts both ways |
| `convolution.py` | TextCNN: all windows of a text at once |
| `classifier.py` | a bag of vectors and the readers above as text classifiers |
| `language_model.py` | a recurrent language model on words or characters, and how it writes |
| `attention.py` | an encoder and a decoder with attention |
"""
