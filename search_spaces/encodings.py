"""Encodings of the mask, paired: the scale and offset of one-hot channels, and bits.

x0 = scale·(2m − 1) + offset. A smaller scale is the same noise earlier, so halving it moves every
noise level by 1.386 in log-SNR; an offset moves the mean that sampling starts from; {0, 1} is both,
scale ½ and offset ½. Bits need fewer channels: with two classes none are saved, with the brain's
three there are two in place of three.

Cost: about 8 minutes on 2 CPU cores (18 trials). Expect small scales ahead of large ones after so
few steps, since more of the range is spent where the noisy mask does not yet tell itself; the
offset alone, and bits against one-hot channels, should make little difference.
"""

from search_spaces import Each, Space


def encoded(name: str, scale: float, offset: float = 0.0) -> dict[str, object]:
    """An arm: one encoding."""
    return {"mode.diffusion.encoding": {name: {"scale": scale, "offset": offset}}}


SPACE = Space(
    question="How should a mask be written before noise is added to it?",
    config={
        "task": Each("nuclei", "histology", "brain"),
        "model": {
            "ensemdiff": {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {"diffusion": {"sampler": {"ddim": {"steps": 4}}, "members": 2}},
        "train": {"steps": 80, "batch": 8, "learning_rate": 2e-3, "validate_every": 40},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "onehot": encoded("onehot", 1.0),
        "onehot_tenth": encoded("onehot", 0.1),
        "onehot_half": encoded("onehot", 0.5),
        "onehot_zero_one": encoded("onehot", 0.5, 0.5),
        "onehot_double": encoded("onehot", 2.0),
        "bits": encoded("bits", 1.0),
    },
)
