"""One embedded model, made anew from start to end: ``python -m worldline.train.campaign MODEL --minutes M -o RUN``.

check → fill → profile → train → evaluate → verdict → results, in as many calls as it takes (docs/train_mini.md).
"""
