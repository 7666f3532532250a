"""The target of the network and the code of the mask: cross-entropy, noise, flow, signed distance.

Question: what should a diffusion network predict? `cross_entropy` is the default: x0 as mask
logits. `hybrid` predicts ε with a learned variance, as the source study's networks do. `flow`
predicts the velocity of flow matching on the linear path, where DDIM is the Euler method. `sdf`
encodes the mask as signed distances (FlowSDF, arXiv 2405.18087) and `onehot` is its control: both
predict x0 by squared error. `sdf_v` and `onehot_v` are the same pair with the target v. The
network, the seeds and the training are those of `atlas`.

The signed distance is a bijection of the mask. The bits of a tile are therefore the same under both
encodings, and only their place in log-SNR moves. Compare `sdf_v` with `onehot_v` in the view
`information`: `entropy_given_image`, `entropy` and `information_orthogonal` are in bits per pixel
under any encoding and should agree within `disagreement`; `half` and `width` need not. The
entropies are upper bounds, which the error of the network raises. Do not compare those of `sdf` and
`onehot`: an error of x0 counts SNR times, up to 10,000, so these networks have bounds of hundreds
of bits per pixel. The error of v is bounded at both ends.

Cost: about two hours on one idle CPU core (63 trials).

Expected: `cross_entropy` and `onehot` have the highest Dice; `hybrid` has the lowest, because four
steps sample badly from ε. The bits of `sdf_v` and `onehot_v` agree within `disagreement` on
`nuclei` and `histology`; on `cho` the bound of `sdf_v` is wide.
"""

from search_spaces import Each, Space

NOT_PROBED = {"probe": {"bins": 0}}


def squared(target: str, encoding: str) -> dict[str, object]:
    """Return an arm that is trained on the squared error of a target."""
    return {
        "mode.diffusion.loss": "mse",
        "mode.diffusion.target": target,
        "mode.diffusion.encoding": encoding,
    }


SPACE = Space(
    question="What should a diffusion network predict, and of which code of the mask?",
    config={
        "task": Each("nuclei", "histology", "cho"),
        "model": {
            "ensemdiff": {"channels": 8, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
        },
        "mode": {
            "diffusion": {
                "sampler": {"ddim": {"steps": 4}},
                "members": 2,
            }
        },
        "train": {
            "steps": 1600,
            "batch": 4,
            "learning_rate": 2e-3,
            "validate_every": 100,
            "patience": 5,
        },
        "test": {"unit": "tiles", "pictures": 0},
        "probe": {"bins": 8, "draws": 1},
    },
    arms={
        "cross_entropy": {},
        "hybrid": {"mode.diffusion.loss": "hybrid", "mode.diffusion.target": "eps", **NOT_PROBED},
        "flow": {
            **squared("flow", "onehot"),
            "mode.diffusion.schedule": "rectified_flow",
            **NOT_PROBED,
        },
        "sdf": squared("x0", "sdf"),
        "onehot": squared("x0", "onehot"),
        "sdf_v": squared("v", "sdf"),
        "onehot_v": squared("v", "onehot"),
    },
    baseline="cross_entropy",
    replicates=3,
)
