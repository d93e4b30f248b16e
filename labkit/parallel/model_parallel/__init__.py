"""One model over many devices: its operators split (tensor parallelism), its layers split (pipeline), and both at once.

`topology` says which rank stands where, `tensor_parallel` and `pipeline` each split along one axis, `three_d` puts them
together with data parallelism, and `model` is the small language model that all of them are tried on.
"""
