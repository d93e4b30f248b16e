"""Lesson 06/06: models larger than the device's memory.

`link` is the way between host and device, `optimizer` keeps the optimizer's states on the host, `schedule` says which
layers stay on the device and what that costs, `scheduler` runs a model so, `paging` is what happens without a plan.
"""
